"""While Redis refuses commands, a fleet waits; afterwards every job ends, and the logs are still readable."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.conftest import SPEECH
from tests.support.fleet_processes import ALL, FleetProcesses, running_fleet
from tests.support.redis_server import RedisServer
from tests.support.refusals import disk_full, forbidden, full, replica
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

CLIP = min(SPEECH.glob("*.wav"), key=lambda clip: clip.stat().st_size)
#: Seconds for which Redis refuses.
REFUSES = 20.0
#: Lines that one process may log about it. A line per try would be thousands.
LINES = 40


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[FleetProcesses]:
    directory = tmp_path_factory.mktemp("refused")
    server = RedisServer(directory)
    try:
        server.start()
        with running_fleet(ALL, server.url, directory, tiny_model.parent, default_precision="float32") as running:
            yield running
    finally:
        server.kill()


@pytest.mark.parametrize("refusing", [full, disk_full, replica, forbidden])
def test_no_job_is_lost_while_redis_refuses(
    fleet: FleetProcesses, tiny_model: Path, refusing: Callable[[Redis], AbstractContextManager[None]]
) -> None:
    jobs = [fleet.submit(file_path=CLIP, model_name=str(tiny_model), temperature=0.0) for _ in range(30)]
    wait_until(lambda: any(job.ready() for job in jobs), 60)
    before = _lines(fleet)
    with refusing(fleet.redis):
        time.sleep(REFUSES)
    wait_until(lambda: all(job.ready() for job in jobs), 150, interval=0.2)
    assert [job.state for job in jobs] == ["SUCCESS"] * len(jobs)
    wait_until(lambda: not fleet.redis.hlen("unacked"), 30)
    assert not fleet.redis.exists("fleet:dead_letters")
    logged = {
        name: [line for line in lines[len(before[name]) :] if _is_trouble(line)]
        for name, lines in _lines(fleet).items()
    }
    assert {name: lines for name, lines in logged.items() if len(lines) > LINES} == {}
    assert any("Redis accepts again after" in line for line in logged["gpu0"])
    assert all(process.poll() is None for process in fleet.processes.values())


def _lines(fleet: FleetProcesses) -> dict[str, list[str]]:
    return {name: fleet.log(name).read_text().splitlines() for name in ALL}


def _is_trouble(line: str) -> Any:
    """Return whether a line is not one of those that every job and tick writes."""
    return not any(word in line for word in (" INFO", ": INFO"))
