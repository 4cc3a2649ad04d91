"""Runs a simulated fleet through time: dispatcher passes, autoscaler ticks, failures and other tenants."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.simulation.fleet import GIB, Gpu, SimulatedJob, make_clip
from benchmarks.simulation.policies import Policy, Segment
from whisper_fleet.scheduler.capacity.resizing import decide
from whisper_fleet.shared.memory import ModelMemory

#: Simulated seconds between two passes of the dispatcher; the real one also runs whenever a slot becomes free.
LOOK: Final = 0.1
#: Seconds from the decision until the slot starts: a Celery message and the ledger's `start`.
_HAND_OVER: Final = 0.05
_TICK: Final = 5.0
_DETECTED_AFTER: Final = 15.0  # heartbeat timeout and recovery's tick
_CLIP_EVERY: Final = 0.5
_GPU_HOURS_BETWEEN_FAILURES: Final = 5.0
_REPAIRED_AFTER: Final = 60.0
_GPU_HOURS_BETWEEN_CO_TENANTS: Final = 4.0
_CO_TENANT_STAYS: Final = 60.0
#: Seconds that an engine takes to load a model.
_LOADING: Final = 3.0


@dataclass(kw_only=True)
class SimulationResult:
    """The results of a run."""

    policy: str
    busy_slot_seconds: float = 0.0  # while anything waited
    slot_seconds: float = 0.0  # of GPUs that were up, while anything waited
    clip_waits: list[float] = field(default_factory=list)  # seconds from submission to start
    clip_delays: list[float] = field(default_factory=list)  # from the first slot that got free meanwhile
    segment_seconds: list[float] = field(default_factory=list)  # how long every 100th ran
    usage: list[tuple[float, float]] = field(default_factory=list)  # second, share of slots that are busy
    makespan: float = 0.0
    started: int = 0
    lost: int = 0  # attempts that died with their GPU and ran again
    resizes: int = 0

    @property
    def utilisation(self) -> float:
        return self.busy_slot_seconds / self.slot_seconds if self.slot_seconds else float("nan")


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not exceed; nan if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class Simulation:
    """Runs one fleet under one policy until no work is left."""

    def __init__(
        self, gpus: Sequence[Gpu], policy: Policy, memories: dict[str, ModelMemory], rng: random.Random
    ) -> None:
        self._gpus = gpus
        self._policy = policy
        self._memories = memories
        self._rng = rng
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        #: Dictionaries instead of sets, whose order differs from run to run.
        self._running: dict[str, dict[Segment, None]] = {gpu.id: {} for gpu in gpus}
        self._clips = 0
        self._clips_waiting: set[str] = set()  # clips since whose submission no slot got free
        self._slot_free_since: dict[str, float] = {}  # clip -> when the first did
        self.figures = SimulationResult(policy=policy.name)

    def run(self, jobs: Iterable[SimulatedJob]) -> SimulationResult:
        """Submit all jobs at once, and a clip at intervals while there is a backlog; return the results."""
        for gpu in self._gpus:
            gpu.slots = max(1, gpu.count(self._memories).slots)
        for job in jobs:
            self._policy.add([Segment(job, index) for index in range(job.segments())])
        self._schedule_world()
        while self._policy.waiting or any(gpu.taken for gpu in self._gpus):
            self._now += LOOK
            while self._events and self._events[0][0] <= self._now:
                heapq.heappop(self._events)[2]()
            self._look()
        self.figures.makespan = self._now
        return self.figures

    def _schedule_world(self) -> None:
        self._at(_TICK, self._tick)
        self._at(_CLIP_EVERY, self._submit_clip)
        for gpu in self._gpus:
            self._at(self._rng.expovariate(1 / (3600 * _GPU_HOURS_BETWEEN_FAILURES)), self._failing(gpu))
            self._at(self._rng.expovariate(1 / (3600 * _GPU_HOURS_BETWEEN_CO_TENANTS)), self._crowding(gpu))

    def _at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), what))

    def _look(self) -> None:
        seen = [gpu for gpu in self._gpus if gpu.is_seen]
        for segment, gpu in self._policy.hand_out(seen, self._now):
            self._start(segment, gpu)
        self._measure()

    def _start(self, segment: Segment, gpu: Gpu) -> None:
        job = segment.job
        gpu.taken += 1
        self._running[gpu.id][segment] = None
        loaded = f"{job.need.model_name}/float16"
        wait = 0.0 if loaded in gpu.models else _LOADING
        gpu.models.add(loaded)
        self.figures.started += 1
        if job.id.startswith("clip"):
            self._clip_starts(job, self._now + _HAND_OVER + wait)
        if gpu.is_up:
            noise = self._rng.lognormvariate(0, 0.2)
            lasts = _HAND_OVER + wait + gpu.seconds_for(job.segment_seconds(), job.model, noise)
            if self.figures.started % 100 == 0:
                self.figures.segment_seconds.append(lasts)
            due = self._now + lasts
            self._at(due, self._ending(segment, gpu, gpu.generation, due))

    def _clip_starts(self, clip: SimulatedJob, when: float) -> None:
        self._clips_waiting.discard(clip.id)
        self.figures.clip_waits.append(when - clip.accepted)
        self.figures.clip_delays.append(when - self._slot_free_since.pop(clip.id, when))

    def _ending(self, segment: Segment, gpu: Gpu, generation: int, due: float) -> Callable[[], None]:
        def end() -> None:
            if gpu.generation == generation:
                gpu.taken -= 1
                del self._running[gpu.id][segment]
                self._slot_free_since.update(dict.fromkeys(self._clips_waiting, due))
                self._clips_waiting.clear()
                if self._policy.waiting:
                    self.figures.busy_slot_seconds -= _HAND_OVER + self._now - due

        return end

    def _failing(self, gpu: Gpu) -> Callable[[], None]:
        def fail() -> None:
            gpu.is_up = False
            gpu.generation += 1
            self._at(self._now + _DETECTED_AFTER, detect)
            self._at(self._now + _REPAIRED_AFTER, repair)

        def detect() -> None:
            gpu.is_seen = False
            self._policy.lost(gpu)
            for segment in self._running[gpu.id]:
                self._policy.add([segment])
            self.figures.lost += len(self._running[gpu.id])
            self._running[gpu.id].clear()
            gpu.taken = 0
            gpu.models.clear()

        def repair() -> None:
            gpu.is_up = gpu.is_seen = True
            gpu.slots = 1

        return fail

    def _crowding(self, gpu: Gpu) -> Callable[[], None]:
        def come() -> None:
            gpu.co_tenant_bytes = int(self._rng.uniform(0.05, 0.3) * gpu.card.total_gib * GIB)
            self._at(self._now + _CO_TENANT_STAYS, leave)

        def leave() -> None:
            gpu.co_tenant_bytes = 0

        return come

    def _tick(self) -> None:
        """Resize the pools as the autoscaler of each host does."""
        for gpu in self._gpus:
            if gpu.is_up:
                wanted = gpu.count(self._memories).slots
                change = decide(wanted, gpu.slots, gpu.wanted_before)
                gpu.wanted_before = wanted
                gpu.slots += change.by if change.action == "grow" else -change.by
                self.figures.resizes += change.by > 0
        self._at(self._now + _TICK, self._tick)

    def _submit_clip(self) -> None:
        """Submit a clip if there is a backlog for it to wait behind."""
        if self._policy.waiting > len(self._gpus):
            self._clips += 1
            clip = make_clip(self._clips, self._now)
            self._clips_waiting.add(clip.id)
            self._policy.add([Segment(clip, 0)])
            self._at(self._now + _CLIP_EVERY, self._submit_clip)

    def _measure(self) -> None:
        up = [gpu for gpu in self._gpus if gpu.is_up]
        slots = sum(max(gpu.slots, gpu.taken) for gpu in up)
        busy = sum(gpu.taken for gpu in up)
        if self._policy.waiting:
            self.figures.busy_slot_seconds += busy * LOOK
            self.figures.slot_seconds += slots * LOOK
        second = self._now
        if not self.figures.usage or second - self.figures.usage[-1][0] >= 1.0:
            self.figures.usage.append((second, busy / slots if slots else 0.0))
