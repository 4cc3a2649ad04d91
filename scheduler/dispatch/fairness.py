"""Decides whose segment is dispatched next: by priority, then fairly among tenants and their jobs. Pure.

The dispatcher reads the lanes of waiting jobs from the ledger and asks here whose turn it is; the ledger
accounts for what was dispatched.

Within a priority this is fair queueing by audio seconds: the tenant that was served least comes first and,
within a tenant, the job. A job's place is where its next segment will end in virtual time, which advances at
the pace of the average waiting job. A newcomer starts at the present: it gets no credit for the time before
it arrived. So a clip does not wait behind the long segments of others, and a ten-hour file delays no other job.

A lane that was not served for `ageing` seconds rises by one priority, after twice that time by two, even above
the most urgent one. It falls back as soon as it is served.
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
    is_aged: bool  # the lane has risen because it waited too long


def risen(priority: int, since: float, now: float, ageing: float) -> int:
    """Return the effective priority of a lane that was last served at `since`."""
    return priority - int(max(0.0, now - since) / ageing)


class FairOrder:
    """The order of one round: `next` returns a turn, which the caller answers with `taken` or `skip`.

    A turn costs O(log n) in the number of lanes and heads; nothing is sorted.
    """

    def __init__(self, lanes: Iterable[Lane], *, now: float, ageing: float) -> None:
        queues = [_LaneTurns(lane, now, ageing) for lane in lanes]
        self._risen = _LazyHeap(_RisenLane(queue) for queue in queues if queue.level < queue.lane.priority)
        self._classes = _LazyHeap(_classes(queues))
        self._turn: _LaneTurns | None = None

    def next(self) -> Turn | None:
        """Return the segment whose turn it is; None if no lane has a head left."""
        lane = self._next_lane()
        if lane is None or (job := lane.jobs.first()) is None:
            return None
        self._turn = lane
        is_aged = lane.level < lane.lane.priority
        return Turn(lane=lane.lane, job=job.job, segment=job.segment, is_aged=is_aged)

    def taken(self) -> None:
        """Charge the segment of the last turn to its job and its tenant, because it was placed."""
        self._current().pay()

    def skip(self) -> None:
        """Leave the lane of the last turn out of this round, because no GPU can take its segment."""
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
        """Return its place in the order, which never decreases during a round; None if it is empty."""


_T = TypeVar("_T", bound=_Keyed)


class _LazyHeap(Generic[_T]):
    """A heap of items whose keys only increase; an item with an outdated key is moved when it reaches the top."""

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
    """A waiting job and the audio seconds that it was served, including this round."""

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
    """A lane with its jobs, the least served first."""

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
    """A lane that has risen: until it is served, it precedes the lanes of its new priority."""

    def __init__(self, queue: _LaneTurns) -> None:
        self.queue = queue

    def key(self) -> tuple[int, float] | None:
        if self.queue.level == self.queue.lane.priority or self.queue.key() is None:
            return None
        return self.queue.level, self.queue.lane.since


class _TenantTurns:
    """A tenant's lanes of one priority, the lane of the least served job first."""

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
