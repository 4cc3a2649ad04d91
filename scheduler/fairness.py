"""Whose segment goes next: urgent classes first, fair between tenants and between their jobs, nobody starves.

Pure: the dispatcher reads the backlog from the ledger, asks here, and writes the changed tags back.

Inside a priority class this is start-time fair queueing by audio seconds handed out. Every job
carries a **tag**, the virtual second at which its next segment may start; the smallest goes first,
and handing out a segment moves the tag on by that segment's length. A newcomer enters at its queue's
**clock**, the tag last served, so that it neither waits behind what a ten-hour file still has to
come nor gets back what others had before it came. Tenants are queued against each other in the same
way, above their jobs.

A class that was not served for `ageing` seconds rises by one priority, after twice that by two, and
falls back as soon as it was served.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class WaitingSegment:
    """A segment that waits for a slot."""

    index: int
    seconds: float  # of audio


@dataclass(kw_only=True, slots=True)
class WaitingJob:
    """A job with waiting segments; `tag` moves as they are handed out."""

    job: str
    tag: float
    segments: Iterable[WaitingSegment]  # in order; read one at a time, only as far as they are handed out


@dataclass(kw_only=True, slots=True)
class TenantBacklog:
    """The jobs of one tenant within one priority class."""

    tenant: str
    tag: float
    clock: float = 0.0  # the tag of the job that was last handed a slot: where a new job enters
    jobs: Iterable[WaitingJob]  # in ascending order of tag; read only as far as needed


@dataclass(kw_only=True, slots=True)
class ClassBacklog:
    """One priority class with waiting segments."""

    priority: int  # 0 is the most urgent
    served: float  # Unix seconds: the later of: last handed a slot, began to wait
    clock: float = 0.0  # the tag of the tenant that was last handed a slot: where a new tenant enters
    tenants: list[TenantBacklog]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What goes next: the answer of `FairOrder.next`."""

    priority: int
    tenant: str
    job: str
    segment: WaitingSegment


@dataclass(kw_only=True)
class Charges:
    """What the ledger must remember of a round."""

    jobs: dict[str, float] = field(default_factory=dict)  # job -> tag
    tenants: dict[tuple[int, str], float] = field(default_factory=dict)  # (priority, tenant) -> tag
    tenant_clocks: dict[tuple[int, str], float] = field(default_factory=dict)  # (priority, tenant) -> clock
    class_clocks: dict[int, float] = field(default_factory=dict)  # priority -> clock
    served: dict[int, float] = field(default_factory=dict)  # priority -> Unix seconds


def entry_tag(tag: float | None, clock: float) -> float:
    """The tag with which a job or tenant begins, or begins again, to wait: never behind its queue's clock."""
    return clock if tag is None else max(tag, clock)


def risen(priority: int, served: float, now: float, ageing: float) -> int:
    """The priority with which a class is treated that was last served at `served`."""
    return max(0, priority - int(max(0.0, now - served) / ageing))


class FairOrder:
    """One round of handing out: `next` says whose turn it is; answer each turn with `taken` or `skip`.

    A turn costs O(classes + log waiting jobs read); jobs and segments are read lazily.
    """

    def __init__(self, classes: Iterable[ClassBacklog], *, now: float, ageing: float) -> None:
        self._now = now
        self._ageing = ageing
        self._classes = [_ClassQueue(backlog) for backlog in classes]
        self._turn: tuple[_ClassQueue, _TenantQueue, _JobQueue] | None = None
        self.charges = Charges()

    def next(self) -> Turn | None:
        """The segment whose turn it is; None when no (further) segment waits."""
        while self._classes:
            queue = min(self._classes, key=self._urgency)
            turn = queue.first()
            if turn is not None:
                self._turn = (queue, *turn)
                tenant, job = turn
                return Turn(priority=queue.priority, tenant=tenant.tenant, job=job.job, segment=job.head)
            self._classes.remove(queue)
        return None

    def taken(self) -> None:
        """The segment of the last turn was handed out: its job and tenant pay for it."""
        queue, tenant, job = self._current()
        seconds = job.head.seconds
        key = (queue.priority, tenant.tenant)
        self.charges.class_clocks[queue.priority] = tenant.tag
        self.charges.tenant_clocks[key] = job.tag
        tenant.pay(seconds)
        queue.pay(seconds, self._now)
        self.charges.jobs[job.job] = job.tag
        self.charges.tenants[key] = tenant.tag
        self.charges.served[queue.priority] = self._now

    def skip(self) -> None:
        """Nothing is free for the job of the last turn: it sits out this round and pays nothing."""
        _, tenant, _ = self._current()
        tenant.drop()

    def _current(self) -> tuple[_ClassQueue, _TenantQueue, _JobQueue]:
        if self._turn is None:
            raise RuntimeError("taken() and skip() answer a turn: call next() first")
        turn, self._turn = self._turn, None
        return turn

    def _urgency(self, queue: _ClassQueue) -> tuple[int, float, int]:
        level = risen(queue.priority, queue.served, self._now, self._ageing)
        return level, queue.served, queue.priority


class _JobQueue:
    """A job's waiting segments with the next one at hand."""

    def __init__(self, waiting: WaitingJob) -> None:
        self.job = waiting.job
        self.tag = waiting.tag
        self._segments = iter(waiting.segments)
        self._head = next(self._segments, None)

    @property
    def is_empty(self) -> bool:
        return self._head is None

    @property
    def head(self) -> WaitingSegment:
        if self._head is None:
            raise RuntimeError(f"job {self.job} has no waiting segment")
        return self._head

    def pay(self, seconds: float) -> None:
        self.tag += seconds
        self._head = next(self._segments, None)


class _TenantQueue:
    """A tenant's jobs, smallest tag first: those read so far are in a heap, the others come in order."""

    def __init__(self, backlog: TenantBacklog) -> None:
        self.tenant = backlog.tenant
        self.tag = backlog.tag
        self._coming: Iterator[WaitingJob] = iter(backlog.jobs)
        self._heap: list[tuple[float, str, _JobQueue]] = []
        self._read_next()

    def first(self) -> _JobQueue | None:
        while self._following is not None and not (self._heap and self._heap[0][0] < self._following.tag):
            self._push(_JobQueue(self._following))
            self._read_next()
        return self._heap[0][2] if self._heap else None

    def pay(self, seconds: float) -> None:
        self.tag += seconds
        _, _, job = heapq.heappop(self._heap)
        job.pay(seconds)
        self._push(job)

    def drop(self) -> None:
        heapq.heappop(self._heap)

    def _push(self, job: _JobQueue) -> None:
        if not job.is_empty:
            heapq.heappush(self._heap, (job.tag, job.job, job))

    def _read_next(self) -> None:
        self._following = next(self._coming, None)


class _ClassQueue:
    """The tenants of a priority class, smallest tag first."""

    def __init__(self, backlog: ClassBacklog) -> None:
        self.priority = backlog.priority
        self.served = backlog.served
        self._heap = [(tenant.tag, tenant.tenant, _TenantQueue(tenant)) for tenant in backlog.tenants]
        heapq.heapify(self._heap)

    def first(self) -> tuple[_TenantQueue, _JobQueue] | None:
        while self._heap:
            tenant = self._heap[0][2]
            job = tenant.first()
            if job is not None:
                return tenant, job
            heapq.heappop(self._heap)
        return None

    def pay(self, _seconds: float, now: float) -> None:
        """The first tenant has paid: it finds its new place, and the class falls back to its own priority."""
        self.served = now
        _, name, tenant = self._heap[0]
        heapq.heapreplace(self._heap, (tenant.tag, name, tenant))
