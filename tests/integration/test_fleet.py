"""The registry of GPUs in real Redis."""

from __future__ import annotations

import pytest
from redis import Redis

from shared import keys
from shared.fleet import Fleet
from shared.wire import GpuStatus

pytestmark = pytest.mark.integration


def status(index: int, heartbeat: float) -> GpuStatus:
    return GpuStatus(
        id=f"h.{index}",
        host="h",
        index=index,
        uuid=f"GPU-{index}",
        name="a GPU",
        device="cuda",
        node=f"gpu{index}@h",
        queue=f"gpu.h.{index}",
        slots=4,
        busy=1,
        ready=True,
        started=0.0,
        heartbeat=heartbeat,
    )


def test_a_status_comes_back_as_it_was_beaten_with_the_unknown_unknown(redis: Redis) -> None:
    fleet = Fleet(redis)
    fleet.beat(status(0, 100.0))
    assert fleet.all() == [status(0, 100.0)]
    assert fleet.all()[0].free_bytes is None


def test_only_gpus_with_a_recent_heartbeat_are_alive(redis: Redis) -> None:
    fleet = Fleet(redis)
    fleet.beat(status(0, 100.0))
    fleet.beat(status(1, 105.0))
    fleet.beat(status(1, 108.0))
    assert [gpu.id for gpu in fleet.gpus(110.0, 10.0)] == ["h.0", "h.1"]
    assert [gpu.id for gpu in fleet.gpus(112.0, 10.0)] == ["h.1"]
    assert [gpu.id for gpu in fleet.all()] == ["h.0", "h.1"]


def test_a_gpu_that_leaves_is_forgotten(redis: Redis) -> None:
    fleet = Fleet(redis)
    fleet.beat(status(0, 100.0))
    fleet.leave("h.0")
    fleet.leave("h.7")
    assert fleet.all() == []
    assert redis.keys() == []


def test_an_odd_node_does_not_blind_the_fleet(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    fleet = Fleet(redis)
    fleet.beat(status(0, 100.0))
    redis.sadd(keys.GPUS, "h.1", "h.2")
    redis.set(keys.gpu("h.1"), '{"of": "another version"}')
    assert [gpu.id for gpu in fleet.all()] == ["h.0"]
    assert "cannot be read" in caplog.text
