"""Two hosts with different roles on one Redis: one beat sends the ticks for both, and a dead one is replaced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from celery import Celery
from redis import Redis

from tests.support.fleet_processes import FleetProcesses
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import wait_until
from whisper_fleet.scheduler.beat import Lease, TickScheduler
from whisper_fleet.scheduler.hosts import live_hosts, report_host
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.wire import SlotDecision

pytestmark = pytest.mark.integration


def make_host(name: str, redis_url: str, directory: Path, model: Path) -> FleetProcesses:
    """Return a host of this name, without processes yet."""
    directory.mkdir()
    return FleetProcesses(redis_url, directory, model.parent, host=name, autoscale_interval=0.5)


@pytest.fixture
def hosts(redis_url: str, tmp_path: Path, tiny_model: Path) -> Iterator[tuple[FleetProcesses, FleetProcesses]]:
    """A host `front` and a host `gpus` of one fleet, without processes yet."""
    front = make_host("front", redis_url, tmp_path / "front", tiny_model)
    gpus = make_host("gpus", redis_url, tmp_path / "gpus", tiny_model)
    try:
        yield front, gpus
    finally:
        gpus.stop()
        front.stop()


def decided_at(redis: Redis, gpu: str) -> float:
    """Return when the autoscaler last decided on a GPU; 0 if it has not, or long ago."""
    written = redis.get(keys.slot_decision(gpu))
    return SlotDecision.from_json(written).at if isinstance(written, bytes) else 0.0


def sends_ticks(host: FleetProcesses) -> bool:
    """Return whether the host's beat has taken the lease."""
    return "this beat sends the ticks" in host.log("beat").read_text()


def test_a_host_with_only_gpus_is_autoscaled_and_a_dead_beat_is_replaced(
    hosts: tuple[FleetProcesses, FleetProcesses], redis: Redis, tiny_model: Path
) -> None:
    front, gpus = hosts
    front.start("beat", "scheduler", "intake")
    wait_until(lambda: sends_ticks(front))
    gpus.start("host", "gpu0", "beat")
    assert live_hosts(redis) >= {"gpus"}
    wait_until(lambda: redis.exists(keys.slot_decision("gpus.0")))
    assert not redis.exists(keys.slot_decision("front.0"))  # it has no node, so nothing to resize
    assert not sends_ticks(gpus)

    front.processes["beat"].kill()
    front.processes["beat"].wait()
    wait_until(lambda: sends_ticks(gpus))
    since = time.time()
    wait_until(lambda: decided_at(redis, "gpus.0") > since)

    assert health(front, "intake") == 0
    assert health(gpus, "gpu") == 0
    assert health(gpus, "host") == 0
    assert health(gpus, "beat") == 0
    assert health(gpus, "scheduler") == 1  # it runs on the other host


def health(host: FleetProcesses, program: str) -> int:
    """Return the exit code of `whisper-fleet health` on a host."""
    command = [str(Path(sys.executable).parent / "whisper-fleet"), "health", program]
    return subprocess.run(command, env=host.environment, capture_output=True, timeout=60).returncode


def test_serve_runs_a_program_in_the_foreground_under_its_own_pid(redis_url: str, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "whisper-fleet"), "serve", "scheduler"]
    settings = {
        "WHISPER_FLEET_REDIS_URL": redis_url,
        "WHISPER_FLEET_HOST": "front",
        "WHISPER_FLEET_VAR_DIR": str(tmp_path),
    }
    log = tmp_path / "log"
    with log.open("w") as output:
        served = subprocess.Popen(command, env={**os.environ, **settings}, stdout=subprocess.DEVNULL, stderr=output)
    try:
        wait_until(lambda: "scheduler@front ready" in log.read_text())
    finally:
        served.terminate()
        assert served.wait(30) == 0


def test_only_one_beat_holds_the_lease_and_gives_it_up_when_it_ends(redis: Redis) -> None:
    first, second = Lease(redis), Lease(redis)
    assert first.hold()
    assert first.hold()
    assert not second.hold()
    first.release()
    assert second.hold()
    redis.delete(keys.BEAT_LEASE)  # as if it had expired while the process was stopped
    assert second.hold()
    assert not first.hold()


# The tasks of every module that was imported before are registered with this app, too.
@pytest.mark.filterwarnings("ignore::celery.exceptions.DuplicateTaskNameWarning")
def test_ticks_that_nobody_takes_do_not_pile_up_and_never_expire(redis_url: str, redis: Redis) -> None:
    with Celery(broker=redis_url, set_as_current=False) as app:
        beat = TickScheduler(app=app, lazy=True)
        entry = beat.Entry(name="recover", task="recover", schedule=2.0, options={"queue": "scheduler"}, app=app)
        for _ in range(20):
            beat.apply_entry(entry)
    waiting = [json.loads(message) for message in redis.lrange("scheduler", 0, -1)]
    assert len(waiting) == 8
    assert {message["headers"]["expires"] for message in waiting} == {None}


def test_a_host_that_reports_no_more_drops_out(redis: Redis) -> None:
    report_host(redis, "a")
    report_host(redis, "b")
    assert live_hosts(redis) == {"a", "b"}
    redis.zadd(keys.HOSTS, {"a": time.time() - 60})
    assert live_hosts(redis) == {"b"}


@pytest.mark.parametrize("program", ["beat", "scheduler"])
def test_a_program_answers_probes_and_lives_without_redis(
    program: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    port = free_port()
    host = FleetProcesses(redis_server.url, tmp_path, tmp_path, health_port=port)
    try:
        host.start(program)
        wait_until(lambda: status(port, "/readyz") == 200)
        assert status(port, "/livez") == 200
        assert status(port, "/other") == 404
        redis_server.kill()
        wait_until(lambda: status(port, "/readyz") == 503)
        assert status(port, "/livez") == 200
        redis_server.start()
        wait_until(lambda: status(port, "/readyz") == 200)
    finally:
        host.stop()


def status(port: int, page: str) -> int:
    """Return the status of a page of the probes; 0 if nobody answers."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}{page}", timeout=20).status_code
    except httpx.HTTPError:
        return 0
