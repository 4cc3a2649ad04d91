"""Samples during the benchmark of the scheduler: two per second, and every decision of the autoscaler."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from redis.exceptions import RedisError

from benchmarks.gpu.fleet.live import LiveFleet
from benchmarks.gpu.fleet.load import Load
from benchmarks.gpu.fleet.tenant import Tenant
from whisper_fleet.scheduler.capacity.nvml import read_gpus
from whisper_fleet.shared.errors import EngineError
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.wire import SlotDecision
from whisper_fleet.workers.link.client import EngineClient
from whisper_fleet.workers.link.protocol import EngineStats
from whisper_fleet.workers.node.engine_command import engine_socket

_EVERY_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One GPU at one moment; None where the value is unknown."""

    at: float  # seconds since sampling began
    total: int | None  # bytes, by NVML, as are the next two
    used: int | None
    free: int | None
    tenant: int  # bytes that the tenant took
    aside: int  # bytes that a third process holds all the time
    engine: int | None  # bytes that the engine holds, by its own account
    engine_pid: int | None
    wanted: int | None
    live: int | None  # size of the node's pool
    busy: int | None
    rows: int | None  # of the engine's batch, that are being decoded
    rows_waiting: int | None
    times_realtime: float | None
    segments_done: int


class Watch:
    """Samples of one GPU, and the decisions on it, from `start` to `stop`."""

    def __init__(
        self, fleet: LiveFleet, index: int, load: Load, tenant: Tenant | None = None, *, aside: int = 0
    ) -> None:
        self._fleet, self._index, self._load = fleet, index, load
        self._tenant, self._aside = tenant, aside
        settings = fleet.settings.model_copy(update={"gpu_index": index})
        self._engine = EngineClient(engine_socket(settings))
        self.samples: list[Sample] = []
        self.decisions: list[SlotDecision] = []
        self.events: list[tuple[float, str]] = []
        self.began = time.time()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._sample, self._listen)]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def now(self) -> float:
        return time.time() - self.began

    @property
    def last(self) -> Sample | None:
        return self.samples[-1] if self.samples else None

    def note(self, event: str) -> float:
        """Record an event and return its moment."""
        self.events.append((self.now, event))
        return self.now

    def since(self, moment: float) -> list[Sample]:
        return [sample for sample in self.samples if sample.at >= moment]

    def decided_since(self, moment: float) -> list[SlotDecision]:
        return [decision for decision in self.decisions if decision.at >= self.began + moment]

    def as_dict(self) -> dict[str, Any]:
        """Return the samples for the JSON file."""
        decisions = [{**one.model_dump(), "at": round(one.at - self.began, 3)} for one in self.decisions]
        return {"samples": [asdict(one) for one in self.samples], "decisions": decisions, "events": self.events}

    def _sample(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            with suppress(RedisError):
                self.samples.append(self._look())

    def _look(self) -> Sample:
        gpus = read_gpus(visible=self._fleet.settings.cuda_visible_devices).gpus
        gpu = next((one for one in gpus if one.index == self._index), None)
        status = self._fleet.gpu(self._index)
        decision = self._fleet.decision(self._index)
        stats = self._stats()
        self._load.look()
        return Sample(
            at=round(self.now, 3),
            total=gpu.total_bytes if gpu else None,
            used=gpu.used_bytes if gpu else None,
            free=gpu.free_bytes if gpu else None,
            tenant=self._tenant.held if self._tenant else 0,
            aside=self._aside,
            engine=sum(stats.memory_bytes.values()) if stats else None,
            engine_pid=stats.pid if stats else None,
            wanted=decision.wanted if decision else None,
            live=status.slots if status else None,
            busy=status.busy if status else None,
            rows=stats.rows_live if stats else None,
            rows_waiting=stats.rows_waiting if stats else None,
            times_realtime=round(stats.times_realtime, 1) if stats else None,
            segments_done=self._load.segments_done,
        )

    def _stats(self) -> EngineStats | None:
        try:
            return self._engine.stats()
        except EngineError:
            return None

    def _listen(self) -> None:
        redis: Any = self._fleet.redis  # its stubs leave pubsub without types
        with redis.pubsub(ignore_subscribe_messages=True) as heard:
            heard.subscribe(keys.SLOT_CHANNEL)
            while not self._stop.is_set():
                message = heard.get_message(timeout=0.2)
                if message is not None:
                    self._hear(SlotDecision.from_json(message["data"]))

    def _hear(self, decision: SlotDecision) -> None:
        if decision.gpu.endswith(f".{self._index}"):
            self.decisions.append(decision)
