"""The client for asyncio, with the fleet's part played by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis

from tests.support.ledger_by_hand import LedgerByHand
from tests.support.redis_server import RedisServer
from tests.support.results_by_hand import RESULT, failure, publish_result, subscribers
from whisper_fleet import AsyncFleetClient, JobState, errors
from whisper_fleet.shared.broker.queues import queue_length
from whisper_fleet.shared.ledger.progress import show
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobProgress

pytestmark = pytest.mark.integration


def with_client(settings: Settings, body: Callable[[AsyncFleetClient], Awaitable[None]]) -> None:
    """Run a coroutine with a client."""

    async def run() -> None:
        async with AsyncFleetClient(settings) as client:
            await body(client)

    asyncio.run(run())


async def subscribed(redis: Redis, job: str) -> None:
    """Wait until the client has subscribed to a job: once, however many coroutines wait for it."""
    while subscribers(redis, job) != 1:
        await asyncio.sleep(0.05)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_url, var_dir=tmp_path)


def test_a_job_is_submitted_and_listed_once(settings: Settings, redis: Redis) -> None:
    async def body(client: AsyncFleetClient) -> None:
        job = await client.submit(file_path="/a.wav", job="mine")
        assert await client.submit(file_path="/a.wav", job="mine") == job == "mine"
        assert [record.job for record in await client.newest(5)] == ["mine"]
        assert (await client.status(job)).stage == "queued"
        assert (await client.record(job)).state is JobState.ACCEPTED
        assert await client.gpus() == []
        with pytest.raises(errors.BadPriority):
            await client.submit(file_path="/a.wav", priority=17)
        with pytest.raises(errors.JobNotFinished):
            await client.result(job, timeout=0)
        with pytest.raises(errors.JobNotFound):
            await client.status("another")

    with_client(settings, body)
    assert queue_length(redis, "transcribe") == 1


def test_a_result_is_returned_as_soon_as_it_is_published(settings: Settings, redis: Redis) -> None:
    LedgerByHand(redis).planned("j")

    async def body(client: AsyncFleetClient) -> None:
        waiting = [asyncio.create_task(client.result("j")) for _ in range(3)]
        await subscribed(redis, "j")
        publish_result(redis, "j", "SUCCESS", RESULT)
        for result in await asyncio.wait_for(asyncio.gather(*waiting), 10):
            assert (result.text, result.segment_gpus) == (" Hello.", ("host.0",))

    with_client(settings, body)


def test_a_failed_job_raises_its_error_and_a_cancelled_one_too(settings: Settings, redis: Redis) -> None:
    ledger = LedgerByHand(redis)
    for job in ("failed", "cancelled"):
        ledger.planned(job)

    async def body(client: AsyncFleetClient) -> None:
        publish_result(redis, "failed", "FAILURE", failure("FileMissing", "gone"))
        with pytest.raises(errors.FileMissing, match="gone"):
            await client.result("failed")
        assert await client.cancel("cancelled")
        assert not await client.cancel("cancelled")
        publish_result(redis, "cancelled", "REVOKED", failure("JobCancelled", "cancelled"))
        with pytest.raises(errors.JobCancelled):
            await client.result("cancelled")

    with_client(settings, body)


def test_progress_is_seen_when_it_is_published(settings: Settings, redis: Redis) -> None:
    """The interval is longer than the test: what is seen was not polled."""
    ledger = LedgerByHand(redis)
    message = ledger.running(ledger.planned("j", segments=2))
    app = Celery(broker=settings.redis_url, backend=settings.redis_url, set_as_current=False)
    seen: list[JobProgress] = []

    async def watch(client: AsyncFleetClient) -> None:
        async for progress in client.watch("j", interval=100):
            seen.append(progress)

    async def body(client: AsyncFleetClient) -> None:
        watching = asyncio.create_task(watch(client))
        while not seen:
            await asyncio.sleep(0.05)
        await subscribed(redis, "j")
        progress = ledger.progress(message, 150.0, 120.0, time.time())
        assert progress is not None
        assert show(app, redis, "j", progress)
        while seen[-1].seconds_done < 150:
            await asyncio.sleep(0.05)
        ledger.cancel("j", time.time())
        publish_result(redis, "j", "REVOKED", failure("JobCancelled", "cancelled"))
        await watching

    with_client(settings, body)
    app.close()
    assert (seen[0].seconds_done, seen[-1].stage) == (0.0, "cancelled")


def test_a_watch_outlives_a_restart_of_redis(settings: Settings, redis: Redis, redis_server: RedisServer) -> None:
    ledger = LedgerByHand(redis)
    ledger.planned("j")
    stages: list[str] = []

    async def watch(client: AsyncFleetClient) -> None:
        async for progress in client.watch("j", interval=0.1):
            stages.append(progress.stage)

    async def body(client: AsyncFleetClient) -> None:
        watching = asyncio.create_task(watch(client))
        while not stages:
            await asyncio.sleep(0.05)
        redis_server.kill()
        await asyncio.sleep(1.0)
        await asyncio.to_thread(redis_server.start)
        ledger.fail("j", "FileMissing", "gone", time.time())
        publish_result(redis, "j", "FAILURE", failure("FileMissing", "gone"))
        await asyncio.wait_for(watching, 20)

    with_client(settings, body)
    assert (stages[0], stages[-1]) == ("queued", "failed")
