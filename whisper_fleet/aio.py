"""The client for asyncio: the methods of FleetClient as coroutines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, ResponseError, TimeoutError

from whisper_fleet.client import POLL_INTERVAL, FleetClient, lane_if_waiting, progress_of
from whisper_fleet.errors import JobNotFinished
from whisper_fleet.outcome import JobResult, Outcome, ResultFormat
from whisper_fleet.publications import Publications
from whisper_fleet.shared.connect import is_passing
from whisper_fleet.shared.embedded_redis import local_settings
from whisper_fleet.shared.ledger.async_reader import AsyncLedgerReader
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import GpuStatus, JobProgress, JobState

T = TypeVar("T")

#: As many tries, with pauses of 0.05 s to 1 s, as the synchronous client makes: half a minute.
_TRIES = 30


class AsyncFleetClient:
    """Submit audio to a fleet, follow the jobs and read their transcripts, from one event loop.

        async with AsyncFleetClient(redis_url="redis://:password@10.0.0.5:6379/0") as fleet:
            job = await fleet.submit(file_path="/data/talk.mp3", language="en", output_path="/data/out")
            async for progress in fleet.watch(job):
                print(progress.stage, progress.seconds_done, progress.seconds_total)
            print((await fleet.result(job)).text)

    Nothing blocks the loop: jobs are read with redis.asyncio, messages are published by a thread. All watched jobs
    share one subscription. While Redis is unreachable every method retries for half a minute, and then raises
    `redis.exceptions.RedisError`.
    """

    def __init__(self, settings: Settings | None = None, *, redis_url: str | None = None) -> None:
        """Make a client; it connects when it is first used. The arguments are those of FleetClient."""
        settings = settings or local_settings()
        settings = settings if redis_url is None else settings.model_copy(update={"redis_url": redis_url})
        self._client = FleetClient(settings)
        self._redis = connect_async(settings.redis_url)
        self._ledger = AsyncLedgerReader(self._redis, retention=lambda: settings.job_retention)
        self._results = ResultFormat(settings.redis_url)
        self._publications = Publications(self._redis)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def submit(self, *, job: str | None = None, **request: Any) -> str:
        """Submit a job and return its id, see `FleetClient.submit`."""
        return await asyncio.to_thread(self._client.submit, job=job, **request)

    async def status(self, job: str) -> JobProgress:
        """Return how far a job is, and why nothing moves if nothing moves; raises JobNotFound."""
        record = await self._ledger.job(job)
        lane = lane_if_waiting(record)
        return progress_of(record, await self._ledger.why_waits(lane) if lane else None)

    async def outcome(self, job: str) -> Outcome | None:
        """Return how a job ended, or None while it has not; raises JobNotFound."""
        if (outcome := await self._stored(job)) is not None:
            return outcome
        # A job that is done has a result, which may have come since it was looked for, or may have expired.
        if (await self._ledger.job(job)).state is not JobState.DONE:
            return None
        if (outcome := await self._stored(job)) is None:
            raise self._ledger.not_found(job)
        return outcome

    async def result(self, job: str, timeout: float | None = None) -> JobResult:
        """Return the transcript, after waiting for it for `timeout` seconds at most (None: without limit).

        Raises JobNotFinished after that time, the error of a failed job, JobCancelled for a cancelled job, and
        JobNotFound.
        """
        if (outcome := await self.outcome(job)) is None and timeout != 0:
            outcome = await self._wait(job, timeout)
        if outcome is None:
            raise JobNotFinished(job=job, state=(await self._ledger.job(job)).state)
        return outcome.result

    async def watch(self, job: str, interval: float = POLL_INTERVAL) -> AsyncIterator[JobProgress]:
        """Yield the progress of a job whenever it changes, until the result can be read, see `FleetClient.watch`."""
        shown: JobProgress | None = None
        async with self._publications.of(self._results.key(job)) as wait:
            while await self.outcome(job) is None:
                progress = await self.status(job)
                if progress != shown:
                    shown = progress
                    yield progress
                await wait(interval)
        yield await self.status(job)

    @asynccontextmanager
    async def changes(self, job: str) -> AsyncIterator[Callable[[float], Awaitable[None]]]:
        """Provide a function that waits for the next change of a job, for so many seconds at most."""
        async with self._publications.of(self._results.key(job)) as wait:
            yield wait

    async def cancel(self, job: str) -> bool:
        """Cancel a job that waits or runs; returns False if it ended or its text is complete. Raises JobNotFound."""
        return await asyncio.to_thread(self._client.cancel, job)

    async def record(self, job: str) -> JobRecord:
        """Return the ledger's record of a job: its request, its state and its times; raises JobNotFound."""
        return await self._ledger.job(job)

    async def retry(self, job: str) -> str:
        """Submit the request of a job that has ended again, and return the new job's id, see `FleetClient.retry`."""
        return await asyncio.to_thread(self._client.retry, job)

    async def delete(self, job: str) -> None:
        """Delete the record and the result of a job that has ended, see `FleetClient.delete`."""
        await asyncio.to_thread(self._client.delete, job)

    async def jobs(
        self, *, states: Collection[JobState] = (), labels: Mapping[str, str] | None = None, since: float | None = None
    ) -> AsyncIterator[JobRecord]:
        """Yield the records of the jobs that the fleet knows, newest first, see `FleetClient.jobs`."""
        records = self._client.jobs(states=states, labels=labels, since=since)
        while (record := await asyncio.to_thread(next, records, None)) is not None:
            yield record

    async def newest(self, count: int) -> list[JobRecord]:
        """Return the records of the last `count` jobs that were submitted, newest first."""
        return await asyncio.to_thread(self._client.newest, count)

    async def running(self) -> list[JobRecord]:
        """Return the records of the jobs that have segments on a GPU, newest first."""
        return await asyncio.to_thread(self._client.running)

    async def gpus(self) -> list[GpuStatus]:
        """Return the GPUs that are up: their slots, memory and loaded models, by their last heartbeat."""
        return await asyncio.to_thread(self._client.gpus)

    async def intake_problem(self) -> str | None:
        """Return why no request is accepted, and what to do about it; None if requests are accepted."""
        return await asyncio.to_thread(self._client.intake_problem)

    async def close(self) -> None:
        """Close every connection; jobs go on."""
        await self._publications.close()
        await self._redis.aclose()
        await asyncio.to_thread(self._client.close)

    async def _stored(self, job: str) -> Outcome | None:
        return self._results.outcome(job, await self._redis.get(self._results.key(job)))

    async def _wait(self, job: str, timeout: float | None) -> Outcome | None:
        """Wait for a job to end; None after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        async with self._publications.of(self._results.key(job)) as wait:
            while (outcome := await self.outcome(job)) is None:
                left = POLL_INTERVAL if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    return None
                await wait(min(left, POLL_INTERVAL))
        return outcome


class _RetryOutages(Retry):
    """Retries what an outage makes fail, while that may pass by itself, as the synchronous client does."""

    async def call_with_retry(
        self, do: Callable[[], Awaitable[T]], fail: Any, is_retryable: Any = None, with_failure_count: bool = False
    ) -> T:
        return await super().call_with_retry(do, fail, is_retryable or is_passing, with_failure_count)


def connect_async(url: str) -> Redis:
    """Return a client that retries for half a minute before it gives up, as `shared.connect.connect` does."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=32,
        timeout=30.0,
        retry=_RetryOutages(ExponentialBackoff(cap=1.0, base=0.05), _TRIES),
        retry_on_error=[ConnectionError, TimeoutError, BusyLoadingError, ResponseError],
        socket_connect_timeout=5.0,
        socket_timeout=30.0,
        socket_keepalive=True,
        health_check_interval=25,
    )
    return Redis.from_pool(pool)
