"""The client follows what Redis publishes, and bears Redis' failures in the middle of a call."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError
from redis import Redis

from tests.support.ledger_by_hand import LedgerByHand, request
from tests.support.redis_server import RedisServer
from tests.support.results_by_hand import RESULT, publish_result, subscribers
from tests.support.waiting import wait_until
from whisper_fleet.client import FleetClient
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobState

pytestmark = pytest.mark.integration


@pytest.fixture
def client(redis_url: str, tmp_path: Path) -> Iterator[FleetClient]:
    client = FleetClient(Settings(redis_url=redis_url, var_dir=tmp_path))
    yield client
    client.close()


@pytest.fixture
def without_broker(client: FleetClient, monkeypatch: pytest.MonkeyPatch) -> FleetClient:
    """One whose broker goes away as soon as the ledger knows of a job."""

    def send_task(*_: object, **__: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(client._app, "send_task", send_task)
    return client


def test_a_job_that_the_ledger_knows_is_submitted_though_its_message_was_not_sent(without_broker: FleetClient) -> None:
    job = without_broker.submit(file_path="/a.wav")
    now = without_broker.record(job).accepted + 11
    assert without_broker._ledger.due(now, 1e12) == [(job, JobState.ACCEPTED, False)]


def test_a_job_is_cancelled_though_the_message_that_tells_of_it_was_not_sent(without_broker: FleetClient) -> None:
    job = without_broker.submit(file_path="/a.wav")
    assert without_broker.cancel(job)
    now = without_broker.record(job).accepted + 60
    assert without_broker._ledger.due(now, 1e12) == [(job, JobState.CANCELLED, False)]


def test_whoever_watches_a_job_waits_for_redis(client: FleetClient, redis_server: RedisServer) -> None:
    client._ledger.accept("j", request(), time.time())
    stages: list[str] = []

    def watch() -> None:
        for shown in client.watch("j", 0.05):
            stages.append(shown.stage)

    watching = threading.Thread(target=watch)
    watching.start()
    wait_until(lambda: stages)
    redis_server.kill()
    time.sleep(1.0)
    redis_server.start()
    client._ledger.fail("j", "FileMissing", "it went away", time.time())
    failure = {"exc_type": "FileMissing", "exc_message": ["it went away"], "exc_module": "whisper_fleet.shared.errors"}
    client._redis.set("celery-task-meta-j", json.dumps({"status": "FAILURE", "result": failure, "task_id": "j"}))
    watching.join(20)
    assert stages == ["queued", "failed"]


def test_progress_and_the_result_are_seen_when_they_are_published(client: FleetClient, redis: Redis) -> None:
    """The interval is longer than the test: what is seen was not polled."""
    ledger = LedgerByHand(redis)
    message = ledger.running(ledger.planned("j", segments=2))
    seen: list[float] = []

    def watch() -> None:
        for progress in client.watch("j", 100):
            seen.append(progress.seconds_done)

    watching = threading.Thread(target=watch)
    watching.start()
    wait_until(lambda: subscribers(redis, "j") == 1)
    ledger.progress(message, 150.0, 120.0, time.time())
    redis.publish("celery-task-meta-j", "progress")
    wait_until(lambda: 150.0 in seen)
    publish_result(redis, "j", "SUCCESS", RESULT)
    watching.join(20)
    assert seen[0] == 0.0
    assert client.result("j", timeout=0).text == " Hello."
