"""Whose segment goes next: urgent ones first, fair between tenants and between their jobs, nobody starves.

Pure: the dispatcher reads the lanes of waiting jobs from the ledger, asks here whose turn it is, and
the ledger counts what was handed out.

Inside a priority this is fair queueing by audio seconds: whoever was handed the fewest goes first,
tenants against each other and, inside a tenant, jobs. A job's place is where its next segment will end
in virtual time, which moves at the pace of the average waiting job; who joins starts at the present. So
a clip is not behind others' long segments, a ten-hour file cannot hold up anyone, and nobody gets back
what others had before he came.

A lane that was handed nothing for `ageing` seconds rises by one priority, after twice that by two, also
above the most urgent, and falls back as soon as it was served.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from whisper_fleet.shared.wire import Lane, WaitingJob


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A segment whose turn it is."""

    lane: Lane
    job: WaitingJob
    segment: int
    is_aged: bool  # the lane waited so long that it rose


def risen(priority: int, since: float, now: float, ageing: float) -> int:
    """The priority with which a lane is treated that was last handed out at `since`."""
    return priority - int(max(0.0, now - since) / ageing)


class FairOrder:
    """One round of handing out: `next` says whose turn it is; answer each turn with `taken` or `skip`.

    A turn costs O(log) of the lanes and heads; nothing is sorted.
    """

    def __init__(self, lanes: Iterable[Lane], *, now: float, ageing: float) -> None:
        queues = [_LaneTurns(lane, now, ageing) for lane in lanes]
        self._risen = _LazyHeap(_RisenLane(queue) for queue in queues if queue.level < queue.lane.priority)
        self._classes = _LazyHeap(_classes(queues))
        self._turn: _LaneTurns | None = None

    def next(self) -> Turn | None:
        """The segment whose turn it is; None when none of the lanes' heads is left."""
        lane = self._next_lane()
        if lane is None or (job := lane.jobs.first()) is None:
            return None
        self._turn = lane
        is_aged = lane.level < lane.lane.priority
        return Turn(lane=lane.lane, job=job.job, segment=job.segment, is_aged=is_aged)

    def taken(self) -> None:
        """The segment of the last turn was handed out: its job and its tenant pay for it."""
        self._current().pay()

    def skip(self) -> None:
        """Nothing is free for the lane of the last turn: it sits out this round and pays nothing."""
        self._current().is_skipped = True

    def _next_lane(self) -> _LaneTurns | None:
        aged = self._risen.first()
        urgent = self._classes.first()
        if aged is not None and (urgent is None or aged.queue.level <= urgent.priority):
            return aged.queue
        tenant = urgent.tenants.first() if urgent is not None else None
        return tenant.lanes.first() if tenant is not None else None

    def _current(self) -> _LaneTurns:
        if self._turn is None:
            raise RuntimeError("taken() and skip() answer a turn: call next() first")
        turn, self._turn = self._turn, None
        return turn


class _Keyed(Protocol):
    def key(self) -> Any | None:
        """Where it stands in line: never falls during a round; None when it has nothing left."""


_T = TypeVar("_T", bound=_Keyed)


class _LazyHeap(Generic[_T]):
    """A heap of things whose keys only grow: what grew is moved when it comes up, so nothing is searched."""

    def __init__(self, things: Iterable[_T]) -> None:
        keyed = ((thing.key(), number, thing) for number, thing in enumerate(things))
        self._heap = [entry for entry in keyed if entry[0] is not None]
        heapq.heapify(self._heap)

    def first(self) -> _T | None:
        while self._heap:
            key, number, thing = self._heap[0]
            present = thing.key()
            if present is None:
                heapq.heappop(self._heap)
            elif present != key:
                heapq.heapreplace(self._heap, (present, number, thing))
            else:
                return thing
        return None


class _JobTurns:
    """A waiting job and what it was handed, this round included."""

    def __init__(self, job: WaitingJob) -> None:
        self.job = job
        self.served = job.served
        self._position = 0

    @property
    def segment(self) -> int:
        return self.job.segments[self._position]

    def pay(self) -> None:
        self.served += self.job.seconds
        self._position += 1

    def key(self) -> tuple[float, float, str] | None:
        has_segment = self._position < len(self.job.segments)
        return (self.served, self.job.accepted, self.job.job) if has_segment else None


class _LaneTurns:
    """A lane, the least served of its jobs first."""

    def __init__(self, lane: Lane, now: float, ageing: float) -> None:
        self.lane = lane
        self.level = risen(lane.priority, lane.since, now, ageing)
        self.tenant: _TenantTurns | None = None
        self.is_skipped = False
        self.jobs = _LazyHeap(_JobTurns(job) for job in lane.jobs)

    def pay(self) -> None:
        job = self.jobs.first()
        if job is None or self.tenant is None:
            raise RuntimeError(f"lane {self.lane.id} has nothing to pay for")
        job.pay()
        self.tenant.served += job.job.seconds
        self.level = self.lane.priority

    def key(self) -> tuple[float, float, str] | None:
        job = self.jobs.first()
        return None if self.is_skipped or job is None else job.key()


class _RisenLane:
    """A lane that waited so long that it rose: until it is served it stands before its new equals."""

    def __init__(self, queue: _LaneTurns) -> None:
        self.queue = queue

    def key(self) -> tuple[int, float] | None:
        if self.queue.level == self.queue.lane.priority or self.queue.key() is None:
            return None
        return self.queue.level, self.queue.lane.since


class _TenantTurns:
    """A tenant's lanes of one priority, that of the least served job first."""

    def __init__(self, queues: list[_LaneTurns]) -> None:
        self.tenant = queues[0].lane.tenant
        self.served = queues[0].lane.tenant_served
        self.lanes = _LazyHeap(queues)
        for queue in queues:
            queue.tenant = self

    def key(self) -> tuple[float, str] | None:
        return None if self.lanes.first() is None else (self.served, self.tenant)


class _ClassTurns:
    """The tenants of one priority, the least served first."""

    def __init__(self, priority: int, tenants: list[_TenantTurns]) -> None:
        self.priority = priority
        self.tenants = _LazyHeap(tenants)

    def key(self) -> int | None:
        return None if self.tenants.first() is None else self.priority


def _classes(queues: list[_LaneTurns]) -> list[_ClassTurns]:
    by_tenant: dict[tuple[int, str], list[_LaneTurns]] = defaultdict(list)
    for queue in queues:
        by_tenant[queue.lane.priority, queue.lane.tenant].append(queue)
    by_priority: dict[int, list[_TenantTurns]] = defaultdict(list)
    for (priority, _), lanes in by_tenant.items():
        by_priority[priority].append(_TenantTurns(lanes))
    return [_ClassTurns(priority, tenants) for priority, tenants in by_priority.items()]
