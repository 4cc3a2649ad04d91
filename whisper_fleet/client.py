"""The client for Python programs: submit, follow and cancel jobs, and read their transcripts."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from types import TracebackType
from typing import Any, Self

from celery import Celery
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from whisper_fleet.errors import JobExists, JobNotFinished
from whisper_fleet.job_records import JobRecords
from whisper_fleet.outcome import JobResult, Outcome, ResultFormat
from whisper_fleet.scheduler.upkeep.acceptance import reported_stall
from whisper_fleet.shared import names, tracing
from whisper_fleet.shared.connect import UNREACHABLE, connect, is_outage
from whisper_fleet.shared.embedded_redis import local_settings
from whisper_fleet.shared.ledger.actions import JobActions
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.records import JobRecord, lane_of
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.request.parsing import FleetDefaults, as_keywords, as_shown, parse_request
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import GpuStatus, JobProgress, JobState, TranscribeRequest

_log = logging.getLogger(__name__)

#: Changes of a job are published; the ledger is read this often, in seconds, for what a lost connection missed.
POLL_INTERVAL = 2.0


class FleetClient:
    """Submit audio to a fleet, follow the jobs and read their transcripts.

        with FleetClient(redis_url="redis://:password@10.0.0.5:6379/0") as fleet:
            job = fleet.submit(file_path="/data/talk.mp3", language="en", output_path="/data/out")
            for progress in fleet.watch(job):
                print(progress.stage, progress.seconds_done, progress.seconds_total)
            print(fleet.result(job).text)

    A job is known by its id. One client may be used by many threads at once. While Redis is unreachable every method
    retries for half a minute, and then raises `redis.exceptions.RedisError`.
    """

    def __init__(self, settings: Settings | None = None, *, redis_url: str | None = None) -> None:
        """Make a client; it connects when it is first used.

        `redis_url` names the fleet's Redis. Without it, that of `settings` is used; without settings, that of
        WHISPER_FLEET_REDIS_URL in the environment, or of the fleet that runs on this machine.
        """
        settings = settings or local_settings()
        self._settings = settings if redis_url is None else settings.model_copy(update={"redis_url": redis_url})
        url = self._settings.redis_url
        # Results are read from Redis itself: Celery's own reader of results is not made for several threads.
        self._app = Celery("whisper_fleet", broker=url, backend="disabled://", set_as_current=False)
        self._app.conf.update(task_send_sent_event=True, broker_connection_retry_on_startup=True)
        self._results = ResultFormat(url)
        self._redis = connect(url)
        self._ledger = Ledger(self._redis, self._settings)
        self._actions = JobActions(self._ledger, self._app)
        self._records = JobRecords(self._redis, self._ledger)
        self._registry = GpuRegistry(self._redis)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, *, job: str | None = None, **request: Any) -> str:
        """Submit a job and return its id.

        The keywords are those of the task `transcribe`: `file_path` (absolute, as the fleet's machines see it, or an
        allowed URL), `model_name`, `language`, `output_path`, `formats`, `priority`, `gpu_ids`, ... A RequestError
        names a keyword that is wrong.

        `job` is an id of the caller's choice. Submitting the same request under it again means the same job; if that
        is done, its files are written again. Another request under the id of a job raises JobExists.

        The ledger records the job before its message is sent, so that a lost message does not lose the job.
        """
        job = job or str(uuid.uuid4())
        parsed = parse_request(request, self._defaults())
        with tracing.span("submit", kind="producer", job=job, tenant=parsed.tenant) as trace:
            if self._ledger.accept(job, parsed, self._ledger.now(), trace=trace):
                self._publish(job, parsed, trace)
            else:
                self._repeat(self._ledger.job(job), parsed)
        return job

    def status(self, job: str) -> JobProgress:
        """Return how far a job is, and why nothing moves if nothing moves; raises JobNotFound."""
        record = self._ledger.job(job)
        lane = lane_if_waiting(record)
        return progress_of(record, self._ledger.why_waits(lane) if lane else None)

    def outcome(self, job: str) -> Outcome | None:
        """Return how a job ended, or None while it has not; raises JobNotFound."""
        if (outcome := self._stored(job)) is not None:
            return outcome
        # A job that is done has a result, which may have come since it was looked for, or may have expired.
        if self._ledger.job(job).state is not JobState.DONE:
            return None
        if (outcome := self._stored(job)) is None:
            raise self._ledger.not_found(job)
        return outcome

    def result(self, job: str, timeout: float | None = None) -> JobResult:
        """Return the transcript, after waiting for it for `timeout` seconds at most (None: without limit).

        Raises JobNotFinished after that time, the error of a failed job, JobCancelled (which is also Celery's
        TaskRevokedError) for a cancelled job, and JobNotFound.
        """
        if (outcome := self.outcome(job)) is None and timeout != 0:
            outcome = self._wait(job, timeout)
        if outcome is None:
            raise JobNotFinished(job=job, state=self._ledger.job(job).state)
        return outcome.result

    def watch(self, job: str, interval: float = POLL_INTERVAL) -> Iterator[JobProgress]:
        """Yield the progress of a job whenever it changes, until the result can be read.

        A change is seen when the fleet publishes it, at most twice per second. Every `interval` seconds the ledger is
        read besides, for what is not published: why a job waits, and its estimated time.
        """
        shown: JobProgress | None = None
        with self.changes(job) as wait:
            while self.outcome(job) is None:
                progress = self.status(job)
                if progress != shown:
                    shown = progress
                    yield progress
                wait(interval)
        yield self.status(job)

    def cancel(self, job: str) -> bool:
        """Cancel a job that waits or runs; returns False if it ended or its text is complete. Raises JobNotFound."""
        return self._actions.cancel(job, self._ledger.now())

    def record(self, job: str) -> JobRecord:
        """Return the ledger's record of a job: its request, its state and its times; raises JobNotFound."""
        return self._ledger.job(job)

    def retry(self, job: str) -> str:
        """Submit the request of a job that has ended again, and return the new job's id.

        Raises JobNotFound, and JobNotFinished for a job that has not ended.
        """
        record = self._ledger.job(job)
        if not record.state.is_final:
            raise JobNotFinished(job=job, state=record.state)
        return self.submit(**as_keywords(record.request))

    def delete(self, job: str) -> None:
        """Delete the record and the result of a job that has ended; its output files stay.

        Raises JobNotFound, and JobNotFinished for a job that has not ended.
        """
        deleted = self._records.delete(job)
        if deleted is None:
            raise self._ledger.not_found(job)
        if not deleted:
            state = self._ledger.job(job).state
            raise JobNotFinished(job=job, state="ending" if state.is_final else state)  # a slot still works on it
        self._redis.delete(self._results.key(job))

    def jobs(
        self, *, states: Collection[JobState] = (), labels: Mapping[str, str] | None = None, since: float | None = None
    ) -> Iterator[JobRecord]:
        """Yield the records of the jobs that the fleet knows, newest first.

        With `states` only those in one of them, with `labels` those that have all of them, with `since` those that
        were submitted at that time (Unix seconds) or later.
        """
        return self._records.matching(states, labels or {}, since)

    def newest(self, count: int) -> list[JobRecord]:
        """Return the records of the last `count` jobs that were submitted, newest first."""
        return list(islice(self.jobs(), count))

    def running(self) -> list[JobRecord]:
        """Return the records of the jobs that have segments on a GPU, newest first."""
        return self._records.running()

    def gpus(self) -> list[GpuStatus]:
        """Return the GPUs that are up: their slots, memory and loaded models, by their last heartbeat."""
        return self._registry.gpus(self._registry.now(), self._settings.heartbeat_timeout)

    def intake_problem(self) -> str | None:
        """Return why no request is accepted, and what to do about it; None if requests are accepted."""
        return reported_stall(self._redis, time.time())

    def close(self) -> None:
        """Close every connection; jobs go on."""
        self._app.close()
        self._redis.close()

    def _stored(self, job: str) -> Outcome | None:
        return self._results.outcome(job, self._redis.get(self._results.key(job)))

    def _wait(self, job: str, timeout: float | None) -> Outcome | None:
        """Wait for a job to end; None after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self.changes(job) as wait:
            while (outcome := self.outcome(job)) is None:
                left = POLL_INTERVAL if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    return None
                wait(min(left, POLL_INTERVAL))
        return outcome

    @contextmanager
    def changes(self, job: str) -> Iterator[Callable[[float], None]]:
        """Provide a function that waits for the next change of a job, for so many seconds at most."""
        # One connection per watched job: those of the pool are for commands. It fails fast, and is polled around.
        options: dict[str, Any] = {"socket_connect_timeout": 5.0, "retry": Retry(NoBackoff(), 0)}
        with Redis.from_url(self._settings.redis_url, **options) as redis, redis.pubsub() as pubsub:

            def wait(seconds: float) -> None:
                began = time.monotonic()
                try:
                    if not pubsub.subscribed:
                        pubsub.subscribe(self._results.key(job))
                    pubsub.get_message(ignore_subscribe_messages=True, timeout=seconds)
                except UNREACHABLE:
                    pubsub.reset()
                    time.sleep(max(0.0, seconds - (time.monotonic() - began)))

            yield wait

    def _defaults(self) -> FleetDefaults:
        return FleetDefaults.of(self._settings)

    def _repeat(self, known: JobRecord, request: TranscribeRequest) -> None:
        """Raise JobExists for another request; have intake write the files of a job that is done again."""
        if known.request != request:
            raise JobExists(job=known.job)
        if known.state is JobState.DONE and request.output_path is not None:
            self._publish(known.job, request)

    def _publish(self, job: str, request: TranscribeRequest, trace: str | None = None) -> None:
        """Send a job to intake; an error is only logged, because recovery sends what the ledger has recorded."""
        try:
            self._app.send_task(
                names.TRANSCRIBE,
                kwargs=as_keywords(request),
                kwargsrepr=as_shown(request),
                task_id=job,
                queue=names.TRANSCRIBE_QUEUE,
                priority=request.priority,
                headers=tracing.headers_for(trace),
            )
        except Exception as error:
            if not is_outage(error):
                raise
            _log.warning("the message of job %s is left to recovery: %s", job, error)


def lane_if_waiting(record: JobRecord) -> str | None:
    """Return the lane in which a planned job waits for its first GPU, None if it does not wait."""
    is_waiting = record.state is JobState.RUNNING and record.started is None
    return lane_of(record.request).lane if is_waiting else None


def progress_of(record: JobRecord, why_waits: str | None) -> JobProgress:
    """Return a job's progress with its message: why it waits, or what went wrong."""
    message = record.error if record.state in (JobState.FAILED, JobState.CANCELLED) else why_waits
    progress = record.progress(time.time())
    return progress if message is None else progress.model_copy(update={"message": message})
