"""A worker that looks alive but takes no messages ends, so that its supervisor can start it again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from celery import Celery
from redis import Redis

from tests.support.process_tree import descendants
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from whisper_fleet.shared.broker.watchdog import EXIT_STATUS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

PATIENCE = 6.0


@contextmanager
def worker(redis_url: str, log: Path, *pool: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker whose watchdog is impatient; its keeper, the test, must not leave it behind."""
    celery = [sys.executable, "-m", "celery", "-A", "tests.support.broker_app"]
    environment = os.environ | {"BROKER_APP_REDIS": redis_url, "BROKER_APP_PATIENCE": str(PATIENCE)}
    with log.open("ab") as out:
        command = [*celery, "worker", *pool, "-Q", "counted", "-l", "INFO"]
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        wait_until(lambda: b"ready." in log.read_bytes())
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_worker_whose_event_loop_hangs_ends_itself(redis_url: str, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with worker(redis_url, log, "-P", "solo") as process, Celery(broker=redis_url, set_as_current=False) as client:
        client.send_task("nap", args=["blocks the loop", 600], queue="counted")
        assert process.wait(PATIENCE * 5) == EXIT_STATUS
    assert "took no messages" in log.read_text()
    assert "nap" in log.read_text()  # where it hung


def test_a_worker_that_hangs_while_it_stops_ends_with_its_children(
    redis_url: str, tmp_path: Path, redis: Redis
) -> None:
    """The main process waits for a child of its pool that will never end, as was seen."""
    pool = ("-P", "prefork", "-c", "1")
    with (
        worker(redis_url, tmp_path / "worker.log", *pool) as process,
        Celery(broker=redis_url, set_as_current=False) as client,
    ):
        client.send_task("nap", args=["never ends", 600], queue="counted")
        wait_until(lambda: redis.hexists("begun", "never ends"))
        children = descendants(process.pid)
        process.terminate()
        assert process.wait(PATIENCE * 5) == EXIT_STATUS
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive


def test_a_worker_that_takes_messages_or_waits_for_redis_is_left_alone(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    pool = ("-P", "prefork", "-c", "1")
    with worker(redis_server.url, tmp_path / "worker.log", *pool) as process:
        time.sleep(PATIENCE * 1.5)
        assert process.poll() is None
        redis_server.kill()
        time.sleep(PATIENCE * 2)
        assert process.poll() is None
