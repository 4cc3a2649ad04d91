"""The places in the ledger: a process takes one and gives it back, and jobs are deferred until there is one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from redis import Redis

from whisper_fleet.scheduler.intake.node.reports import intake_nodes
from whisper_fleet.scheduler.intake.places.share import Share, full_tenants, is_slow, next_tenant, places_of, share_of
from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.ledger import STEP_GRACE
from whisper_fleet.shared.ledger.scripts import run, text

#: Seconds that a place is kept without being renewed, as long as a claim.
LEASE = 30.0
#: Seconds for which the number of intake's processes is remembered.
_REMEMBERED = 2.0
#: Seconds to wait for a place at most, and between two tries.
_PATIENCE, _PAUSE = 2.0, 0.02


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What intake reads at one moment, and what is deferred."""

    since: dict[str, tuple[float, ...]]  # by tenant, since when each of its files is being read
    deferred: dict[str, float]  # by tenant, the rank of its first job: its priority, then when it was accepted
    places: int  # of the fleet; 0: unknown

    @property
    def files(self) -> dict[str, int]:
        """How many files of each tenant are being read."""
        return {tenant: len(moments) for tenant, moments in self.since.items()}

    @property
    def free(self) -> int:
        """How many more files may be read, by whichever tenants."""
        return max(self.places - sum(self.files.values()), 0)

    @property
    def full_tenants(self) -> list[str]:
        """The tenants that have their share."""
        return full_tenants(self.files, self.deferred, self.places)


class Places:
    """The places as one process uses them, of which it has one at most. Errors of Redis pass through."""

    def __init__(self, services: Services) -> None:
        self._redis: Redis = services.redis
        self._now = services.ledger.now
        self._services = services
        self._known: tuple[float, int] | None = None

    def take_soon(self, job: str, tenant: str) -> bool:
        """Take a place as `take` does, and wait for one while those of the tenant change quickly."""
        deadline = time.monotonic() + _PATIENCE
        while not self.take(job, tenant):
            reading = self.look()
            is_behind = tenant in reading.deferred
            if is_behind or time.monotonic() >= deadline or is_slow(reading.since.get(tenant, ()), self._now()):
                return False
            time.sleep(_PAUSE)
        return True

    def take(self, job: str, tenant: str) -> bool:
        """Take a place to read a job's file; False if the tenant has its share. Each call may be repeated."""
        now, reading = self._now(), self.look()
        share = share_of(tenant, reading.files, reading.deferred, reading.places)
        arguments = (self._services.name, job, tenant, now, now + LEASE, *_limits(share))
        return bool(run(self._redis, "take_place", *arguments))

    def renew(self) -> None:
        """Keep the place of this process, if it has one."""
        self._redis.zadd(keys.READING, {self._services.name: self._now() + LEASE}, xx=True)

    def give_back(self) -> None:
        """Give the place of this process back, if it has one."""
        _remove(self._redis, [self._services.name])

    def defer(self, job: str, tenant: str, priority: int) -> bool:
        """Let a job that this process has claimed wait until its file may be read; False if it ended meanwhile."""
        return bool(run(self._redis, "defer", job, self._services.name, tenant, priority))

    def next_deferred(self) -> str | None:
        """Return the deferred job that is to be read next, for which a place is kept; None if none may be.

        A `transcribe` must be sent for it; recovery sends those that are lost.
        """
        while (tenant := self._next_tenant(reading := self.look())) is not None:
            now, share = self._now(), share_of(tenant, reading.files, reading.deferred, reading.places)
            if job := run(self._redis, "next_deferred", tenant, now, now + STEP_GRACE, *_limits(share)):
                return text(job)
        return None

    def look(self) -> Reading:
        """Return what is read and what is deferred now."""
        reading, deferred = cast("list[list[bytes]]", run(self._redis, "places", self._now()))
        since: dict[str, tuple[float, ...]] = {}
        for tenant, moment in _pairs(reading):
            since[text(tenant)] = (*since.get(text(tenant), ()), float(moment))
        ranks = {text(tenant): float(rank) for tenant, rank in _pairs(deferred)}
        return Reading(since=since, deferred=ranks, places=self._places())

    def _next_tenant(self, reading: Reading) -> str | None:
        return next_tenant(reading.files, reading.deferred, reading.places)

    def _places(self) -> int:
        """Return how many files the fleet's intake reads at once; 0 if no intake of this version reports itself."""
        now = time.monotonic()
        if self._known is None or now - self._known[0] > _REMEMBERED:
            nodes = intake_nodes(self._redis, self._now())
            self._known = now, places_of(sum(node.processes for node in nodes), len(nodes))
        return self._known[1]


def forget_places(redis: Redis, host: str) -> None:
    """Forget the places of a host's intake, none of whose processes reads a file yet: it has just started."""
    holders = [text(holder) for holder in cast("list[bytes]", redis.zrange(keys.READING, 0, -1))]
    _remove(redis, [holder for holder in holders if holder.startswith(f"{host}/")])


def _remove(redis: Redis, holders: Sequence[str]) -> None:
    if holders:
        redis.zrem(keys.READING, *holders)
        redis.hdel(keys.READING_TENANTS, *holders)


def _limits(share: Share) -> tuple[int, int, int]:
    return share.own, share.total, share.places


def _pairs(flat: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))
