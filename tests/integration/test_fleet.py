"""The registry of GPUs in real Redis."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.support.gpu_status import gpu_status
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.wire import GpuStatus

pytestmark = pytest.mark.integration


def status(index: int, heartbeat: float) -> GpuStatus:
    return gpu_status("h", index, heartbeat=heartbeat)


def test_a_status_comes_back_as_it_was_beaten_with_the_unknown_unknown(redis: Redis) -> None:
    fleet = GpuRegistry(redis)
    fleet.beat(status(0, 100.0))
    assert fleet.all() == [status(0, 100.0)]
    assert fleet.all()[0].free_bytes is None


def test_only_gpus_with_a_recent_heartbeat_are_alive(redis: Redis) -> None:
    fleet = GpuRegistry(redis)
    fleet.beat(status(0, 100.0))
    fleet.beat(status(1, 105.0))
    fleet.beat(status(1, 108.0))
    assert [gpu.id for gpu in fleet.gpus(110.0, 10.0)] == ["h.0", "h.1"]
    assert [gpu.id for gpu in fleet.gpus(112.0, 10.0)] == ["h.1"]
    assert [gpu.id for gpu in fleet.all()] == ["h.0", "h.1"]


def test_a_gpu_that_leaves_is_forgotten(redis: Redis) -> None:
    fleet = GpuRegistry(redis)
    fleet.beat(status(0, 100.0))
    fleet.leave("h.0")
    fleet.leave("h.7")
    assert fleet.all() == []
    assert set(redis.keys()) == {keys.GPUS_VERSION.encode(), keys.GPUS_LEFT.encode()}
    assert 0 < redis.ttl(keys.GPUS_LEFT) <= 3600


def test_a_gpu_that_left_is_remembered_for_an_hour(redis: Redis) -> None:
    fleet = GpuRegistry(redis)
    for index, heartbeat in enumerate((100.0, 2000.0, 2000.0)):
        fleet.beat(status(index, heartbeat))
    fleet.leave("h.0")
    fleet.leave("h.1")
    assert [gpu.id for gpu in fleet.lately(3000.0)] == ["h.0", "h.1", "h.2"]
    assert [gpu.id for gpu in fleet.lately(4000.0)] == ["h.1", "h.2"]
    fleet.beat(status(1, 4000.0))
    assert fleet.lately(4000.0) == [status(1, 4000.0), status(2, 2000.0)]


def test_those_that_left_long_ago_are_forgotten_when_others_leave(redis: Redis) -> None:
    fleet = GpuRegistry(redis)
    for index, heartbeat in enumerate((100.0, 5000.0)):
        fleet.beat(status(index, heartbeat))
        fleet.leave(f"h.{index}")
    assert redis.zcard(keys.GPUS_LEFT) == 1


def test_an_odd_node_does_not_blind_the_fleet(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    fleet = GpuRegistry(redis)
    fleet.beat(status(0, 100.0))
    redis.zadd(keys.GPUS, {"h.1": 7, "h.2": 8})
    redis.set(keys.gpu("h.1"), '{"of": "another version"}')
    assert [gpu.id for gpu in fleet.all()] == ["h.0"]
    assert "cannot be read" in caplog.text


def test_a_node_that_does_not_know_the_forms_of_cross_attention_is_read(redis: Redis) -> None:
    fleet = GpuRegistry(redis)
    fleet.beat(status(0, 100.0))
    redis.set(keys.gpu("h.0"), status(0, 100.0).model_dump_json(exclude={"forms"}))
    assert fleet.all()[0].forms == {}


def test_a_node_of_a_newer_version_is_up_for_an_older_reader(redis: Redis) -> None:
    fleet = GpuRegistry(redis)
    fleet.beat(status(0, 100.0))
    redis.set(keys.gpu("h.0"), status(0, 100.0).to_json()[:-1] + ',"brand_new":{"of":[1]}}')
    assert fleet.gpus(101.0, 10.0) == [status(0, 100.0)]


def test_a_reader_that_asks_again_sees_what_changed_meanwhile(redis: Redis) -> None:
    reader, nodes = GpuRegistry(redis), GpuRegistry(redis)
    for index in (2, 0, 1):
        nodes.beat(status(index, 100.0))
    assert reader.all() == [status(0, 100.0), status(1, 100.0), status(2, 100.0)]
    nodes.beat(status(1, 102.0))
    nodes.leave("h.0")
    nodes.beat(status(3, 103.0))
    assert reader.all() == [status(1, 102.0), status(2, 100.0), status(3, 103.0)] == GpuRegistry(redis).all()


def test_a_reader_that_asks_again_reads_only_what_changed(redis: Redis) -> None:
    reader, nodes = GpuRegistry(redis), GpuRegistry(redis)
    nodes.beat(status(0, 100.0))
    nodes.beat(status(1, 100.0))
    reader.all()
    redis.set(keys.gpu("h.0"), "not read again before it beats")
    nodes.beat(status(1, 102.0))
    assert reader.all() == [status(0, 100.0), status(1, 102.0)]


def test_a_reader_notices_that_redis_forgot_everything(redis: Redis) -> None:
    reader, nodes = GpuRegistry(redis), GpuRegistry(redis)
    for heartbeat in (100.0, 102.0, 104.0):
        nodes.beat(status(0, heartbeat))
    reader.all()
    redis.flushall()
    assert reader.all() == []
    nodes.beat(status(0, 106.0))
    assert reader.all() == [status(0, 106.0)]
    assert nodes.some(["h.0", "h.1"]) == [status(0, 106.0)]
