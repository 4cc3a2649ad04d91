"""The slot pool in a real Celery worker on a real Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis as redis_py

from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

NODE = "pool@test"
SUPPORT = Path(__file__).parents[2] / "support"


class Worker:
    """A worker process."""

    def __init__(self, url: str, log: Path, *arguments: str, grace: float = 20.0) -> None:
        environment = os.environ | {
            "POOL_APP_REDIS": url,
            "CELERY_CUSTOM_WORKER_POOL": "whisper_fleet.workers.pool.celery_pool:SlotPool",
            "WHISPER_FLEET_DRAIN_TIMEOUT": str(grace),
            "PYTHONPATH": str(SUPPORT),
        }
        command = [sys.executable, "-m", "celery", "-A", "pool_app", "worker", "-P", "custom", "-n", NODE]
        command += ["-l", "INFO", *arguments]
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 30.0) -> int:
        return self.process.wait(timeout)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def pool_app(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("POOL_APP_REDIS", redis_url)
    monkeypatch.syspath_prepend(str(SUPPORT))
    sys.modules.pop("pool_app", None)
    module = __import__("pool_app")
    yield module
    module.app.close()
    module._redis.close()


@pytest.fixture
def start(redis_url: str, tmp_path: Path, pool_app: ModuleType) -> Iterator[Callable[..., Worker]]:
    """Start workers, wait until they reply to a ping, and kill them after the test."""
    workers: list[Worker] = []

    def start(*arguments: str, grace: float = 20.0) -> Worker:
        workers.append(Worker(redis_url, tmp_path / "worker.log", *arguments, grace=grace))
        wait_until(lambda: pool_app.app.control.ping(destination=[NODE], timeout=0.5))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()


def stats(pool_app: ModuleType) -> dict[str, Any]:
    replies: dict[str, dict[str, Any]] = {}
    wait_until(lambda: replies.update(pool_app.app.control.inspect([NODE], timeout=2).stats() or {}) or replies)
    return replies[NODE]


def ran(redis: redis_py.Redis, name: str) -> Counter[str]:
    entries: dict[bytes, bytes] = redis.hgetall(name)  # type: ignore[assignment]  # decode_responses is off
    return Counter({key.decode(): int(value) for key, value in entries.items()})


def stopped(redis: redis_py.Redis, task: str) -> str | None:
    reason = redis.hget("stopped", task)
    assert reason is None or isinstance(reason, bytes)
    return reason.decode() if reason else None


def unfinished(redis: redis_py.Redis) -> int:
    return redis.llen("pool") + redis.hlen("unacked")


def test_fifty_grows_and_shrinks_under_load_lose_and_double_nothing(
    redis: redis_py.Redis, pool_app: ModuleType, start: Callable[..., Worker]
) -> None:
    start("-c", "4")
    control, size = pool_app.app.control, 4
    tasks = [pool_app.windows.delay(2, 0.02).id for _ in range(600)]
    for step in range(25):
        n = step % 3 + 1
        grown = control.pool_grow(n, destination=[NODE], reply=True, timeout=5)
        assert "ok" in grown[0][NODE], grown
        shrunk = control.pool_shrink(n, destination=[NODE], reply=True, timeout=5)
        assert "ok" in shrunk[0][NODE], shrunk
    wait_until(lambda: redis.hlen("done") == 600, 60)
    wait_until(lambda: unfinished(redis) == 0)
    assert ran(redis, "started") == ran(redis, "done") == Counter(tasks)
    current = stats(pool_app)
    assert current["pool"]["max-concurrency"] == current["prefetch_count"] == size


def test_a_shrink_below_one_is_an_error_and_leaves_size_and_prefetch_alone(
    pool_app: ModuleType, start: Callable[..., Worker]
) -> None:
    start("-c", "3")
    for n in (3, 10):
        reply = pool_app.app.control.pool_shrink(n, destination=[NODE], reply=True, timeout=5)
        assert "at least one must stay" in reply[0][NODE]["error"]
    current = stats(pool_app)
    assert current["pool"]["max-concurrency"] == current["prefetch_count"] == 3


def test_stats_and_prefetch_follow_every_resize(pool_app: ModuleType, start: Callable[..., Worker]) -> None:
    start("-c", "1")
    control = pool_app.app.control
    for command, n, size in [("pool_grow", 5, 6), ("pool_shrink", 4, 2), ("pool_grow", 1, 3)]:
        getattr(control, command)(n, destination=[NODE], reply=True, timeout=5)
        current = stats(pool_app)
        assert current["pool"]["max-concurrency"] == current["prefetch_count"] == size


def test_a_revoke_with_terminate_stops_a_running_task_at_its_next_window(
    redis: redis_py.Redis, pool_app: ModuleType, start: Callable[..., Worker]
) -> None:
    start("-c", "2")
    doomed, other = pool_app.windows.delay(400, 0.05), pool_app.windows.delay(20, 0.05)
    wait_until(lambda: redis.hlen("windows") == 2)
    doomed.revoke(terminate=True)
    wait_until(lambda: stopped(redis, doomed.id))
    assert stopped(redis, doomed.id) == "SegmentStopped"
    wait_until(lambda: ran(redis, "done") == Counter([other.id]))
    wait_until(lambda: unfinished(redis) == 0)
    assert doomed.state == "REVOKED"


def test_a_revoke_of_a_task_that_waits_in_the_pool_stops_it_before_its_first_window(
    redis: redis_py.Redis, pool_app: ModuleType, start: Callable[..., Worker]
) -> None:
    start("-c", "2")
    running = [pool_app.windows.delay(60, 0.05).id for _ in range(2)]
    wait_until(lambda: redis.hlen("windows") == 2)
    pool_app.app.control.pool_shrink(1, destination=[NODE], reply=True, timeout=5)
    waiting = pool_app.windows.delay(5, 0.05)
    waiting.revoke(terminate=True)
    wait_until(lambda: ran(redis, "done") == Counter(running))
    wait_until(lambda: waiting.state == "REVOKED")
    assert waiting.id not in ran(redis, "windows")


@pytest.mark.parametrize(
    "limits", [{"soft_time_limit": 0.3}, {"time_limit": 0.3}, {"soft_time_limit": 0.3, "time_limit": 9}]
)
def test_a_time_limit_stops_a_running_task_at_its_next_window(
    redis: redis_py.Redis, pool_app: ModuleType, start: Callable[..., Worker], limits: dict[str, float]
) -> None:
    start("-c", "1")
    slow = pool_app.windows.apply_async((400, 0.05), **limits)
    after = pool_app.add.delay(2, 3)
    wait_until(lambda: stopped(redis, slow.id))
    assert stopped(redis, slow.id) == "OverTimeLimit"
    assert after.get(timeout=10) == 5
    wait_until(lambda: unfinished(redis) == 0)


def test_a_hard_time_limit_fails_a_task_that_never_checks_its_slot(
    redis: redis_py.Redis, pool_app: ModuleType, start: Callable[..., Worker], tmp_path: Path
) -> None:
    start("-c", "1")
    pool_app.stuck.apply_async((2.0,), time_limit=0.3)
    wait_until(lambda: "Hard time limit (0.3s) exceeded" in (tmp_path / "worker.log").read_text())
    wait_until(lambda: unfinished(redis) == 0)
    assert pool_app.add.delay(1, 1).get(timeout=10) == 2


def test_a_warm_shutdown_finishes_running_tasks_and_leaves_waiting_ones_in_the_queue(
    redis: redis_py.Redis, pool_app: ModuleType, start: Callable[..., Worker]
) -> None:
    worker = start("-c", "2")
    running = [pool_app.windows.delay(30, 0.05).id for _ in range(2)]
    wait_until(lambda: redis.hlen("windows") == 2)
    queued = [pool_app.windows.delay(30, 0.05).id for _ in range(3)]
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert ran(redis, "done") == Counter(running)
    assert ran(redis, "started") == Counter(running)
    assert redis.llen("pool") == len(queued)
    assert redis.hlen("unacked") == 0


def test_a_warm_shutdown_stops_what_outlasts_the_grace(
    redis: redis_py.Redis, pool_app: ModuleType, start: Callable[..., Worker]
) -> None:
    worker = start("-c", "1", grace=0.3)
    task = pool_app.windows.delay(600, 0.05)
    wait_until(lambda: redis.hlen("windows") == 1)
    worker.signal(signal.SIGTERM)
    assert worker.wait(timeout=10) == 0
    assert stopped(redis, task.id) == "SlotLost"
    assert redis.hlen("unacked") == 0


def test_a_cold_shutdown_during_a_warm_one_stops_what_runs(
    redis: redis_py.Redis, pool_app: ModuleType, start: Callable[..., Worker]
) -> None:
    worker = start("-c", "1", grace=60)
    task = pool_app.windows.delay(600, 0.05)
    wait_until(lambda: redis.hlen("windows") == 1)
    worker.signal(signal.SIGTERM)
    time.sleep(0.5)
    worker.signal(signal.SIGQUIT)
    worker.wait(timeout=15)
    assert stopped(redis, task.id) in {"SlotLost", "SegmentStopped"}
    assert not redis.exists("done")


def test_a_cold_shutdown_does_not_wait_for_a_thread_that_never_checks(
    redis: redis_py.Redis, pool_app: ModuleType, start: Callable[..., Worker]
) -> None:
    worker = start("-c", "1")
    pool_app.stuck.delay(100)
    wait_until(lambda: redis.hlen("started") == 1)
    worker.signal(signal.SIGQUIT)
    worker.wait(timeout=25)
    assert unfinished(redis) == 1


def test_a_killed_redis_loses_no_running_and_no_waiting_task(
    redis: redis_py.Redis, pool_app: ModuleType, start: Callable[..., Worker], redis_server: RedisServer
) -> None:
    start("-c", "2")
    tasks = [pool_app.windows.delay(20, 0.05).id for _ in range(6)]
    wait_until(lambda: redis.hlen("windows") == 2)
    redis_server.kill()
    time.sleep(2)
    redis_server.start()
    wait_until(lambda: redis.hlen("done") == 6, 60)
    assert set(ran(redis, "done")) == set(tasks)
