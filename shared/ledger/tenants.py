"""What the ledger keeps per tenant: how many of its jobs wait, and its share of virtual time."""

from __future__ import annotations

from typing import cast

from redis import Redis

from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import run

_PRIORITIES = range(10)
#: Seconds for which nothing of a tenant waits until it is forgotten. Its running segments may still return to the
#: queue, and then take their places by its clock; that takes minutes.
IDLE_SECONDS = 3600.0


def waiting_jobs(redis: Redis, tenant: str) -> int:
    """Return how many jobs of a tenant have segments that wait for GPUs."""
    fields = [f"waiting/{priority}/{tenant}" for priority in _PRIORITIES]
    counts = cast("list[bytes | None]", redis.hmget(keys.CLOCK, fields))
    return sum(max(int(count), 0) for count in counts if count is not None)


def forget_tenants(redis: Redis, now: float, seconds: float = IDLE_SECONDS) -> int:
    """Forget the tenants of which nothing has waited for this long; return how many."""
    return int(run(redis, "forget_tenants", now, seconds))
