"""The node's two threads: one keeps the engine as large as the pool, the other reports to the registry."""

from __future__ import annotations

import threading
import time
from typing import Any, cast

import pytest

from tests.support.waiting import wait_until
from whisper_fleet.shared.errors import EngineDied
from whisper_fleet.shared.names import GpuName
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import GpuStatus
from whisper_fleet.workers.link.protocol import EngineStats
from whisper_fleet.workers.node.engine_monitor import LOOKS, EngineMonitor, FreezeDetector
from whisper_fleet.workers.node.heartbeat import Heartbeat
from whisper_fleet.workers.node.loop import Loop
from whisper_fleet.workers.node.status import NodeIdentity
from whisper_fleet.workers.pool.slots import Slots

STATS = EngineStats(
    pid=7, device="cuda", slots=1, rows_live=0, rows_waiting=0, windows_per_s=0.0, times_realtime=0.0,
    tokens_per_s=0.0, share_encode=0.0, share_prefill=0.0, share_decode=0.0, share_idle=1.0, memory_bytes={},
    models=(), forms={},
)  # fmt: skip


class FakeEngine:
    """An engine process and its client in one."""

    def __init__(self) -> None:
        self.ready = True
        self.since = time.monotonic()
        self.answers = True
        self.sizes: list[int] = []
        self.kills = 0
        self.cpu_seconds = 1.0

    @property
    def client(self) -> FakeEngine:
        return self

    def resize(self, slots: int) -> None:
        self.sizes.append(slots)

    def stats(self) -> EngineStats:
        if not self.answers:
            raise EngineDied
        return STATS

    def kill(self) -> None:
        self.kills += 1


class FakeConnections:
    """Keeps the heartbeats, and how often the dispatcher was woken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.beats: list[GpuStatus] = []
        self.left: list[str] = []
        self.woken = 0
        self.redis = self.fail_fast = self
        monkeypatch.setattr("whisper_fleet.workers.node.heartbeat.GpuRegistry", lambda _: self)

    def now(self) -> float:
        return 1000.0

    def beat(self, status: GpuStatus) -> None:
        self.beats.append(status)

    def leave(self, gpu: str) -> None:
        self.left.append(gpu)

    def wake_dispatcher(self) -> None:
        self.woken += 1


class Parts:
    """The two loops of a node, whose steps a test takes itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine, self.slots = FakeEngine(), Slots(2)
        self.connections = FakeConnections(monkeypatch)
        engine = cast("Any", self.engine)
        self.monitor = EngineMonitor(engine, lambda: self.slots.limit, 60.0, lambda: None)
        identity = NodeIdentity(name="gpu0@h", gpu=GpuName("h", 0), device="cuda", started=0.0)
        self.heartbeat = Heartbeat(
            identity, self.slots, engine, self.monitor, cast("Any", self.connections), Settings(engine_timeout=60.0)
        )

    def watch(self) -> None:
        self.monitor._step()

    def beat(self) -> GpuStatus:
        self.heartbeat._step()
        return self.connections.beats[-1]


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    return Parts(monkeypatch)


def test_a_node_whose_engine_never_answered_reports_nothing(parts: Parts) -> None:
    parts.heartbeat._step()
    assert parts.connections.beats == []


def test_a_node_is_ready_when_its_engine_has_the_pools_size(parts: Parts) -> None:
    assert parts.heartbeat.why_not_ready == "the engine has not been set to the pool's size yet"
    parts.watch()
    assert parts.heartbeat.why_not_ready is None
    assert parts.beat().ready
    assert (parts.engine.sizes, parts.connections.woken) == ([2], 1)


def test_the_engine_is_resized_only_when_the_pool_was(parts: Parts) -> None:
    parts.watch()
    parts.watch()
    parts.slots.grow(3)
    parts.watch()
    assert parts.engine.sizes == [2, 5]


def test_an_engine_that_came_back_is_set_to_the_pools_size_before_the_node_is_ready(parts: Parts) -> None:
    parts.watch()
    parts.engine.ready = False
    parts.watch()
    assert parts.heartbeat.why_not_ready == "the engine does not answer yet"
    assert not parts.beat().ready
    parts.engine.ready = True
    assert not parts.beat().ready
    parts.watch()
    assert parts.beat().ready
    assert parts.engine.sizes == [2, 2]


def test_a_node_that_shuts_down_reports_that_it_takes_nothing_and_then_leaves(parts: Parts) -> None:
    parts.watch()
    parts.heartbeat.drain()
    assert parts.heartbeat.why_not_ready == "the node is shutting down"
    assert not parts.beat().ready
    parts.heartbeat.leave()
    parts.heartbeat._step()
    assert (len(parts.connections.beats), parts.connections.left) == (1, ["h.0"])


def test_a_silent_engine_is_killed_and_reported_with_what_it_said_last(parts: Parts) -> None:
    parts.watch()
    parts.engine.answers = False
    parts.heartbeat._engine_timeout = -1.0
    parts.watch()
    assert parts.beat().engine_pid == STATS.pid
    assert parts.engine.kills == 1


def test_an_engine_that_neither_answers_nor_computes_is_killed_before_its_timeout(parts: Parts) -> None:
    parts.watch()
    parts.heartbeat._freeze = FreezeDetector(0.0)
    for _ in range(LOOKS + 1):
        assert parts.engine.kills == 0
        parts.beat()
    assert parts.engine.kills == 1


def test_a_loop_steps_at_once_when_woken_and_outlives_an_error() -> None:
    stepped = threading.Semaphore(0)

    def step() -> None:
        stepped.release()
        raise ValueError("unexpected")

    loop = Loop("loop", step, 3600.0)
    loop.start()
    try:
        for _ in range(3):
            assert stepped.acquire(timeout=20)
            loop.wake()
    finally:
        loop.stop()
    wait_until(lambda: not loop._thread.is_alive(), 20)
