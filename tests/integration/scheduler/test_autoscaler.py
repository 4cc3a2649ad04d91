"""The autoscaler resizes a real Celery node's SlotPool through real Redis, and tells everybody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import Celery
from redis import Redis

from tests.support.gpu_status import gpu_status
from tests.support.idle_node import HOST, NODE, IdleNode
from tests.support.waiting import wait_until
from whisper_fleet.scheduler.capacity.autoscaler import Autoscaler
from whisper_fleet.scheduler.capacity.devices import Devices
from whisper_fleet.scheduler.capacity.nvml import GpuReading
from whisper_fleet.scheduler.capacity.pools import Pools, Resize
from whisper_fleet.shared import names
from whisper_fleet.shared.host import HostReading
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import SlotDecision

pytestmark = pytest.mark.integration

GIB = 2**30


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    with Celery(broker=redis_url, backend=redis_url, set_as_current=False) as app:
        yield app


@pytest.fixture
def node(redis_url: str, app: Celery, tmp_path: Path) -> Iterator[IdleNode]:
    node = IdleNode(redis_url, tmp_path)
    try:
        wait_until(lambda: size(app) == 1)
        yield node
    finally:
        node.close()


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings(redis_url=redis_url, host=HOST)


def size(app: Celery) -> int | None:
    stats = app.control.inspect(destination=[NODE], timeout=0.5).stats() or {}
    return stats[NODE]["pool"]["max-concurrency"] if NODE in stats else None


def beat(redis: Redis, now: float) -> None:
    GpuRegistry(redis).beat(
        gpu_status(
            HOST,
            uuid="GPU-0",
            slots=1,
            total_bytes=24 * GIB,
            models=("large-v3/float16",),
            forms={"float16": "absorbed"},
            started=now,
            heartbeat=now,
        )
    )


class Card:
    """A GPU of 24 GiB whose free memory the test sets; None: it has fallen off the bus."""

    def __init__(self, free_gib: float | None) -> None:
        self.free_gib = free_gib

    def __call__(self, _: Settings) -> Devices:
        host = HostReading(total_bytes=256 * GIB, free_bytes=256 * GIB, cores=32)
        if self.free_gib is None:
            gpu = GpuReading(index=0, uuid="GPU-0", problem="the GPU has fallen off the bus")
        else:
            free = int(self.free_gib * GIB)
            gpu = GpuReading(index=0, uuid="GPU-0", total_bytes=24 * GIB, free_bytes=free)
        return Devices(gpus=(gpu,), device="cuda", host=host)


@pytest.fixture
def card() -> Card:
    return Card(23.5)


@pytest.fixture
def tick(app: Celery, redis: Redis, settings: Settings, card: Card) -> Callable[[], SlotDecision]:
    """One tick, with a heartbeat of the node just before it."""
    autoscaler = Autoscaler(app, redis, settings, read=card)

    def tick() -> SlotDecision:
        now = time.time()
        beat(redis, now)
        (decision,) = autoscaler.tick(now)
        return decision

    return tick


def test_a_pool_grows_after_two_readings_and_shrinks_at_once(
    node: IdleNode, app: Celery, card: Card, tick: Callable[[], SlotDecision]
) -> None:
    assert tick().action == "hold"
    grown = tick()
    assert (grown.action, grown.live, grown.outcome) == ("grow", 1, "resized")
    assert grown.wanted is not None
    assert size(app) == grown.wanted > 20

    card.free_gib = 12.0
    shrunk = tick()
    assert (shrunk.action, shrunk.outcome) == ("shrink", "resized")
    assert shrunk.wanted is not None
    assert 1 < shrunk.wanted < grown.wanted
    assert size(app) == shrunk.wanted
    assert tick().action == "hold"


def test_a_pool_keeps_one_slot_when_nothing_fits(
    node: IdleNode, app: Celery, card: Card, tick: Callable[[], SlotDecision]
) -> None:
    tick(), tick()
    card.free_gib = 1.0
    decision = tick()
    assert (decision.wanted, decision.action, decision.outcome) == (0, "shrink", "resized")
    assert size(app) == 1
    assert tick().action == "hold"


def test_a_lost_gpu_leaves_the_pool_alone(
    node: IdleNode, app: Celery, card: Card, tick: Callable[[], SlotDecision]
) -> None:
    tick()
    grown = tick()
    card.free_gib = None
    decision = tick()
    assert (decision.wanted, decision.action) == (None, "hold")
    assert "fallen off the bus" in decision.reason
    assert size(app) == grown.wanted


def test_a_gpus_pool_is_left_alone_while_its_host_looks_like_a_cpu(
    node: IdleNode, app: Celery, redis: Redis, settings: Settings, tick: Callable[[], SlotDecision]
) -> None:
    tick()
    grown = tick()

    def without_nvml(_: Settings) -> Devices:
        host = HostReading(total_bytes=256 * GIB, free_bytes=256 * GIB, cores=4)
        cpu = GpuReading(index=0, uuid="cpu", total_bytes=256 * GIB, free_bytes=256 * GIB)
        return Devices(gpus=(cpu,), device="cpu", host=host, problem="the NVIDIA driver is not loaded")

    now = time.time()
    beat(redis, now)
    (decision,) = Autoscaler(app, redis, settings, read=without_nvml).tick(now)
    assert (decision.wanted, decision.action) == (None, "hold")
    assert "the NVIDIA driver is not loaded" in decision.reason
    assert size(app) == grown.wanted


def test_somebody_elses_resize_is_repaired(node: IdleNode, app: Celery, tick: Callable[[], SlotDecision]) -> None:
    tick()
    wanted = tick().wanted
    app.control.pool_shrink(3, destination=[NODE], reply=True)
    repaired = tick()
    assert (repaired.action, repaired.outcome) == ("grow", "resized")
    assert size(app) == wanted


def test_a_node_that_restarts_is_picked_up(node: IdleNode, app: Celery, tick: Callable[[], SlotDecision]) -> None:
    tick()
    wanted = tick().wanted
    node.kill()
    gone = tick()
    assert (gone.live, gone.action) == (None, "hold")
    node.start()
    wait_until(lambda: size(app) == 1)
    assert tick().action == "grow"
    assert size(app) == wanted


def test_connections_that_died_in_the_pool_cost_nothing(
    node: IdleNode, app: Celery, redis: Redis, tick: Callable[[], SlotDecision]
) -> None:
    tick()
    ours = {f"{end.laddr.ip}:{end.laddr.port}" for end in psutil.Process().net_connections() if end.raddr}
    idle = [client["addr"] for client in redis.client_list() if client["addr"] in ours]
    assert sum(redis.client_kill_filter(addr=addr, skipme=True) for addr in idle) > 1
    assert tick().outcome == "resized"


def resize(app: Celery, redis: Redis, live: int, by: int) -> tuple[str, str]:
    return Pools(app, redis).resize({NODE: Resize(live=live, by=by)})[NODE]


def test_a_refusal_is_an_answer(node: IdleNode, app: Celery, redis: Redis) -> None:
    outcome, details = resize(app, redis, 1, -5)
    assert outcome == "refused"
    assert "at least one must stay" in details
    assert size(app) == 1


def test_a_node_that_is_not_there_is_an_answer(app: Celery, redis: Redis) -> None:
    pools = Pools(app, redis, timeout=0.2)
    assert pools.sizes([NODE]) == {}
    assert pools.resize({NODE: Resize(live=1, by=1)})[NODE][0] == "no answer"


def test_a_node_that_is_not_there_does_not_hide_the_others(node: IdleNode, app: Celery, redis: Redis) -> None:
    gone = str(names.GpuName(HOST, 7).node())
    outcomes = Pools(app, redis).resize({gone: Resize(live=1, by=1), NODE: Resize(live=1, by=3)})
    assert outcomes == {gone: ("no answer", "it did not answer in time"), NODE: ("resized", "it has 4 slots")}


def test_a_size_other_than_expected_is_an_answer(node: IdleNode, app: Celery, redis: Redis) -> None:
    assert resize(app, redis, 7, 1) == ("wrong size", "it has 2 slots instead of 8")


def test_only_one_resize_of_a_node_is_on_its_way(node: IdleNode, app: Celery, redis: Redis) -> None:
    with redis.lock(keys.resize_lock(NODE), timeout=10):
        assert resize(app, redis, 1, 1)[0] == "busy"
    assert size(app) == 1
    assert resize(app, redis, 1, 1)[0] == "resized"


def test_every_decision_is_published(
    node: IdleNode, app: Celery, redis: Redis, tick: Callable[[], SlotDecision], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="whisper_fleet.scheduler.capacity.autoscaler")
    tick()
    with listening(app) as events, subscriber(redis) as channel:
        channel.subscribe(keys.SLOT_CHANNEL)
        channel.get_message(timeout=5)
        decision = tick()
        message = channel.get_message(timeout=5)
        wait_until(lambda: slot_events(events))
    assert message is not None
    assert SlotDecision.from_json(message["data"]) == decision
    (event,) = slot_events(events)
    assert (event["type"], event["gpu"], event["wanted"]) == ("slots-grow", decision.gpu, decision.wanted)
    assert redis.hget(keys.SLOT_COUNTS, f"{decision.gpu}/grow/resized/two readings agree") == b"1"
    assert decision.reason in caplog.text
    assert "(absorbed cross-attention)" in decision.reason, "as the engine tells, whatever its GPU"


def slot_events(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["type"].startswith("slots-")]


def subscriber(redis: Any) -> Any:
    """Open a Redis subscription that yields published messages only; the stubs leave `pubsub` untyped."""
    return redis.pubsub(ignore_subscribe_messages=True)


@contextmanager
def listening(app: Celery) -> Iterator[list[dict[str, Any]]]:
    """Collects the autoscaler's Celery events, as Flower does."""
    events: list[dict[str, Any]] = []
    with app.connection() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": events.append})
        thread = threading.Thread(target=lambda: receiver.capture(limit=None, timeout=None, wakeup=False))
        thread.start()
        try:
            wait_until(lambda: any(event["type"] == "worker-heartbeat" for event in events))
            yield events
        finally:
            receiver.should_stop = True
            thread.join()
