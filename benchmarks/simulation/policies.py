"""The fleet's dispatch policy, and three simpler ones to compare it with."""

from __future__ import annotations

import heapq
import random
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from benchmarks.simulation.fleet import Gpu, SimulatedJob, demands
from whisper_fleet.scheduler.dispatch.demand import Demand, fits_now, matches
from whisper_fleet.scheduler.dispatch.fairness import FairOrder
from whisper_fleet.scheduler.dispatch.gpu_load import GpuLoad
from whisper_fleet.scheduler.dispatch.matching import match
from whisper_fleet.scheduler.dispatch.placement import Placement, Refusal
from whisper_fleet.shared.memory import ModelMemory
from whisper_fleet.shared.wire import Lane, Need, WaitingJob

#: The share of the memory that is kept free, as in the default settings.
MARGIN = 0.2
_AGEING = 60.0
#: The number of lane heads that one pass reads.
_HEADS = 24


class Segment(NamedTuple):
    """A segment of a simulated job."""

    job: SimulatedJob
    number: int


class Policy(Protocol):
    """Decides which segment gets a free slot."""

    name: str
    waiting: int  # segments

    def add(self, segments: Sequence[Segment]) -> None:
        """Add segments of one job to those that wait."""

    def hand_out(self, gpus: Sequence[Gpu], now: float) -> Iterator[tuple[Segment, Gpu]]:
        """Yield segments for the free slots of these GPUs, each with its GPU."""

    def lost(self, gpu: Gpu) -> None:
        """Note that a GPU is down."""


class _JobsWaiting:
    """The jobs of a lane as the ledger keeps them, least served first."""

    def __init__(self, priority: int, tenant: str, need: Need) -> None:
        self.priority, self.tenant, self.need = priority, tenant, need
        self.id = f"{priority}/{tenant}/{need.model_name}/{','.join(need.gpu_ids)}"
        self.since = 0.0
        self.heap: list[tuple[float, float, str]] = []  # served, accepted, job; without the heads
        self.heads: dict[str, tuple[float, float]] = {}  # those of the present look: served, accepted
        self.segments: dict[str, deque[Segment]] = {}

    def take_heads(self) -> None:
        """Take the jobs that the dispatcher reads in this pass."""
        for _ in range(min(_HEADS, len(self.heap))):
            served, accepted, job = heapq.heappop(self.heap)
            self.heads[job] = (served, accepted)

    def least_start(self) -> float:
        """Return where the waiting segment with the smallest tag began, in virtual time."""
        tags = [(tag, job) for job, (tag, _) in self.heads.items() if self.segments[job]]
        if self.heap:
            tags.append((self.heap[0][0], self.heap[0][2]))
        if not tags:
            return 0.0
        tag, job = min(tags)
        return tag - self.segments[job][0].job.segment_seconds()

    def put_heads_back(self) -> None:
        """Return the heads to the lane at the end of a pass; a job without waiting segments leaves the lane."""
        for job, (served, accepted) in self.heads.items():
            if self.segments[job]:
                heapq.heappush(self.heap, (served, accepted, job))
            else:
                del self.segments[job]
        self.heads.clear()


class FairDispatch:
    """The dispatcher's decision functions on an in-memory ledger with the same virtual times."""

    name = "fair, least loaded"

    def __init__(self, memories: dict[str, ModelMemory]) -> None:
        self.waiting = 0
        self.spent_seconds = 0.0  # in deciding, by this machine's clock
        self.decided = 0
        self._memories = memories
        self._demands = demands()
        self._lanes: dict[tuple[int, str, Need], _JobsWaiting] = {}
        self._job_clock: dict[tuple[int, str], float] = defaultdict(float)
        self._jobs_waiting: dict[tuple[int, str], int] = defaultdict(int)
        self._tenant_clock: dict[int, float] = defaultdict(float)
        self._tenant_served: dict[tuple[int, str], float] = {}

    def add(self, segments: Sequence[Segment]) -> None:
        job = segments[0].job
        self.waiting += len(segments)
        key = (job.priority, job.tenant, job.need)
        lane = self._lanes.get(key)
        if lane is None or not lane.heap:
            lane = self._lanes[key] = _JobsWaiting(*key)
            lane.since = job.accepted
        own = (job.priority, job.tenant)
        clock = self._tenant_clock[job.priority]
        self._tenant_served[own] = max(self._tenant_served.get(own, clock), clock)
        if job.id in lane.segments:
            lane.segments[job.id].extendleft(segments)
        else:
            lane.segments[job.id] = deque(segments)
            self._jobs_waiting[own] += 1
            heapq.heappush(lane.heap, (self._job_clock[own] + job.segment_seconds(), job.accepted, job.id))

    def hand_out(self, gpus: Sequence[Gpu], now: float) -> Iterator[tuple[Segment, Gpu]]:
        by_id = {gpu.id: gpu for gpu in gpus}
        lanes = [self._lane(lane, own) for own, lane in self._lanes.items() if lane.heap]
        loads = [gpu.load(self._memories) for gpu in gpus]
        began = time.perf_counter()
        placement = Placement(loads, margin=MARGIN)
        order = FairOrder(lanes, now=now, ageing=_AGEING)
        pairs = match(order, placement, lambda lane: self._demands[lane.need])
        turns = [(turn, place.id) for turn, place in pairs if not isinstance(place, Refusal)]
        self.spent_seconds += time.perf_counter() - began
        self.decided += len(turns)
        for turn, place in turns:
            yield self._take(turn.lane, turn.job.job, now), by_id[place]
        for load in loads:
            if load.models != load.status.models:  # the placed segments load a model, or take others' place
                by_id[load.status.id].models = set(load.models)
        for lane in self._lanes.values():
            lane.put_heads_back()

    def lost(self, gpu: Gpu) -> None:
        """Do nothing: no segment is bound to a GPU before it has a slot."""

    def _lane(self, lane: _JobsWaiting, own: tuple[int, str, Need]) -> Lane:
        lane.take_heads()
        jobs = tuple(
            WaitingJob.model_construct(
                job=job,
                accepted=accepted,
                served=served,
                seconds=lane.segments[job][0].job.segment_seconds(),
                segments=tuple(segment.number for segment in islice(lane.segments[job], _HEADS)),
            )
            for job, (served, accepted) in lane.heads.items()
        )
        return Lane.model_construct(
            id=lane.id,
            priority=lane.priority,
            tenant=lane.tenant,
            need=lane.need,
            since=lane.since,
            tenant_served=self._tenant_served[own[:2]],
            jobs=jobs,
        )

    def _take(self, turn_lane: Lane, job: str, now: float) -> Segment:
        """Charge the segment to its job and tenant and advance the clocks, as the ledger's `assign` does."""
        own = (turn_lane.priority, turn_lane.tenant)
        lane = self._lanes[turn_lane.priority, turn_lane.tenant, turn_lane.need]
        segment = lane.segments[job].popleft()
        seconds = segment.job.segment_seconds()
        served, accepted = lane.heads[job]
        lane.heads[job] = (served + seconds, accepted)
        clock = self._job_clock[own] + seconds / self._jobs_waiting[own]
        self._jobs_waiting[own] -= not lane.segments[job]
        self._job_clock[own] = max(clock, lane.least_start())
        self._tenant_clock[turn_lane.priority] = max(self._tenant_clock[turn_lane.priority], self._tenant_served[own])
        self._tenant_served[own] += seconds
        lane.since = now
        self.waiting -= 1
        return segment


def able(demand: Demand, load: GpuLoad) -> bool:
    """Return whether a GPU could take a demand now if it had a free slot."""
    return matches(demand.gpu_ids, load.status) and fits_now(demand, load, MARGIN)


class SharedQueue:
    """One queue in order of arrival: a free slot takes the oldest segment that fits its GPU."""

    name = "one shared queue"

    def __init__(self, memories: dict[str, ModelMemory]) -> None:
        self.waiting = 0
        self._memories = memories
        self._demands = demands()
        self._queues: dict[Need, deque[tuple[int, Segment]]] = defaultdict(deque)
        self._number = 0

    def add(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            self._number += 1
            self._queues[segment.job.need].append((self._number, segment))
        self.waiting += len(segments)

    def hand_out(self, gpus: Sequence[Gpu], now: float) -> Iterator[tuple[Segment, Gpu]]:
        for gpu in gpus:
            load = gpu.load(self._memories) if gpu.taken < gpu.slots else None
            while load is not None and gpu.taken < gpu.slots and (need := self._oldest(load)) is not None:
                self.waiting -= 1
                yield self._queues[need].popleft()[1], gpu
                load = gpu.load(self._memories)

    def lost(self, gpu: Gpu) -> None:
        """Do nothing: no segment is bound to a GPU before it has a slot."""

    def _oldest(self, load: GpuLoad) -> Need | None:
        waiting = [need for need, queue in self._queues.items() if queue and able(self._demands[need], load)]
        return min(waiting, key=lambda need: self._queues[need][0][0], default=None)


class _PinnedQueues:
    """Binds every segment to a GPU's queue when it is submitted, as plain pinned queues do."""

    name = ""

    def __init__(self, memories: dict[str, ModelMemory], gpus: Sequence[Gpu], rng: random.Random) -> None:
        self.waiting = 0
        self._memories = memories
        self._rng = rng
        self._queues: dict[str, deque[Segment]] = {gpu.id: deque() for gpu in gpus}
        self._able = {need: self._fitting(demand, gpus) for need, demand in demands().items()}

    def add(self, segments: Sequence[Segment]) -> None:
        self.waiting += len(segments)
        for segment in segments:
            self._queues[self._choose(self._able[segment.job.need])].append(segment)

    def hand_out(self, gpus: Sequence[Gpu], now: float) -> Iterator[tuple[Segment, Gpu]]:
        for gpu in gpus:
            queue = self._queues[gpu.id]
            while queue and gpu.taken < gpu.slots:
                self.waiting -= 1
                yield queue.popleft(), gpu

    def lost(self, gpu: Gpu) -> None:
        """Bind the segments that wait for this GPU to other GPUs."""
        moved, self._queues[gpu.id] = self._queues[gpu.id], deque()
        self.waiting -= len(moved)
        for segment in moved:
            self.add([segment])

    def _choose(self, gpus: list[str]) -> str:
        raise NotImplementedError

    def _fitting(self, demand: Demand, gpus: Sequence[Gpu]) -> list[str]:
        return [gpu.id for gpu in gpus if able(demand, gpu.load(self._memories))]


class RandomQueues(_PinnedQueues):
    """Binds to a random GPU among those that fit."""

    name = "random"

    def _choose(self, gpus: list[str]) -> str:
        return self._rng.choice(gpus)


class RoundRobinQueues(_PinnedQueues):
    """Binds to the GPUs that fit in turn."""

    name = "round robin"
    _next = 0

    def _choose(self, gpus: list[str]) -> str:
        self._next += 1
        return gpus[self._next % len(gpus)]
