"""No message is lost between its queue and its consumer, and none that cannot be read stops a consumer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from tests.support.hostile_messages import hostile_messages, message
from tests.support.waiting import wait_until
from whisper_fleet.shared.broker.dead_letters import DeadLetters

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

QUEUE = "counted"


class Worker:
    """A Celery worker on the fleet's transport."""

    def __init__(self, redis_url: str, log: Path, *arguments: str) -> None:
        celery = [sys.executable, "-m", "celery", "-A", "tests.support.broker_app"]
        command = [*celery, "worker", "-P", "prefork", "-c", "2", "-Q", f"{QUEUE},other", "-l", "INFO", *arguments]
        with log.open("ab") as out:
            environment = os.environ | {"BROKER_APP_REDIS": redis_url}
            self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def worker(redis_url: str, tmp_path: Path) -> Iterator[Worker]:
    started = Worker(redis_url, tmp_path / "worker.log")
    yield started
    if started.process.poll() is None:
        started.kill()


@pytest.fixture
def client(redis_url: str) -> Iterator[Celery]:
    """A client as other services have it: kombu's own transport."""
    app = Celery(broker=redis_url, backend=redis_url, set_as_current=False)
    yield app
    app.close()


def runs(redis: Redis) -> dict[str, int]:
    stored: Any = redis.hgetall("runs")
    return {name.decode(): int(count) for name, count in stored.items()}


def test_messages_of_a_plain_client_run_once_each(worker: Worker, client: Celery, redis: Redis) -> None:
    names = [f"job {number}" for number in range(50)]
    for number, name in enumerate(names):
        client.send_task("count", args=[name], queue=QUEUE if number % 2 else "other", priority=number % 10)
    wait_until(lambda: len(runs(redis)) == len(names))
    wait_until(lambda: redis.hlen("unacked") == 0)
    assert set(runs(redis).values()) == {1}
    assert redis.zcard("unacked_index") == 0
    assert not redis.keys("fleet:consumer:*")


def test_a_message_is_never_outside_its_queue_and_unacked(
    worker: Worker, client: Celery, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    """Whatever was received and not done when a consumer dies is run by another, soon."""
    names = [f"job {number}" for number in range(8)]
    for name in names:
        client.send_task("nap", args=[name, 2.0], queue=QUEUE)
    wait_until(lambda: redis.hlen("begun") >= 2)
    worker.kill()
    assert redis.llen(QUEUE) + redis.hlen("unacked") == len(names) - len(runs(redis))
    other = Worker(redis_url, tmp_path / "other.log")
    try:
        wait_until(lambda: len(runs(redis)) == len(names), timeout=60)
    finally:
        other.kill()


def test_a_job_with_a_countdown_outlives_its_consumer(
    worker: Worker, client: Celery, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    client.send_task("count", args=["later"], queue=QUEUE, countdown=4)
    wait_until(lambda: redis.hlen("unacked") == 1)
    worker.kill()
    other = Worker(redis_url, tmp_path / "other.log")
    try:
        wait_until(lambda: runs(redis) == {"later": 1}, timeout=60)
    finally:
        other.kill()


def test_a_redis_that_refuses_writes_loses_nothing(
    worker: Worker, client: Celery, redis: Redis, tmp_path: Path
) -> None:
    client.send_task("count", args=["first"], queue=QUEUE)
    wait_until(lambda: len(runs(redis)) == 1)
    redis.replicaof("127.0.0.1", "1")
    redis.config_set("replica-read-only", "no")
    client.send_task("count", args=["second"], queue=QUEUE)
    redis.config_set("replica-read-only", "yes")
    wait_until(lambda: "Redis is unreachable or refuses" in (tmp_path / "worker.log").read_text())
    redis.replicaof("NO", "ONE")
    wait_until(lambda: set(runs(redis)) == {"first", "second"}, timeout=40)
    assert (tmp_path / "worker.log").read_text().count("waiting for messages: Redis is unreachable or refuses") == 1


HOSTILE = hostile_messages("count", QUEUE)


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_a_message_that_cannot_be_read_is_set_aside(kind: str, redis: Redis, redis_url: str) -> None:
    """Taken as the worker takes it, without a process per case: the next message comes, and the letter says why."""
    from kombu import Connection, Queue

    redis.lpush(QUEUE, HOSTILE[kind])
    redis.lpush(QUEUE, json.dumps(message("count", QUEUE, body=json.dumps([["good"], {}, {}]))))
    received: list[Any] = []
    options = {"accepted_tasks": {QUEUE: {"count": None}}}
    transport = "whisper_fleet.shared.broker.transport:FleetTransport"
    with Connection(redis_url, transport=transport, transport_options=options) as connection:
        consumer = connection.Consumer(Queue(QUEUE, routing_key=QUEUE, no_declare=True), on_message=received.append)
        with consumer:
            wait_until(lambda: drained(connection, received))
        received[0].ack()
    [letter] = DeadLetters(redis).all()
    assert letter.reason and letter.queue == QUEUE
    assert redis.hlen("unacked") == 0 and redis.llen(QUEUE) == 0


def drained(connection: Any, received: list[Any]) -> bool:
    with contextlib.suppress(TimeoutError):
        connection.drain_events(timeout=0.5)
    return bool(received)


def test_a_worker_goes_on_after_hostile_messages(worker: Worker, client: Celery, redis: Redis) -> None:
    for hostile in HOSTILE.values():
        redis.lpush(QUEUE, hostile)
    client.send_task("count", args=["good"], queue=QUEUE)
    wait_until(lambda: runs(redis) == {"good": 1}, timeout=30)
    assert len(DeadLetters(redis).all()) == len(HOSTILE)
    assert worker.process.poll() is None


def test_remote_control_gets_its_replies_through_the_fleets_transport(
    worker: Worker, redis_url: str, redis: Redis
) -> None:
    transport = "whisper_fleet.shared.broker.transport:FleetTransport"
    with Celery(broker=redis_url, broker_transport=transport, set_as_current=False) as app:
        wait_until(lambda: app.control.ping(timeout=1.0), 60)
    assert DeadLetters(redis).all() == []
