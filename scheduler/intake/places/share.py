"""Decides how many files of one tenant intake may read at once. Pure.

A process that reads a slow or huge file cannot be taken back. So a tenant that has a file being read never takes the
last free place: it is left to the next tenant. Where several tenants have files, each has an equal share.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

#: Seconds in which a clip is read. Deferring a job costs as much as reading one, so clips wait for each other instead.
_QUICK = 0.5
#: The share while it is unknown how many processes intake has.
_UNLIMITED = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Share:
    """When a tenant may have one more file read, by how many are being read."""

    own: int  # of the tenant: fewer than this, and
    total: int  # of all tenants: fewer than this, unless the tenant has none
    places: int  # of all tenants: fewer than this in any case

    def allows(self, own: int, total: int) -> bool:
        """Return whether a tenant with `own` of `total` files that are being read may have another one read."""
        return total < self.places and (own == 0 or (own < self.own and total < self.total))


def places_of(processes: int, nodes: int) -> int:
    """Return how many files intake reads at once; 0 if it is unknown how many processes it has.

    One process per node reads none, so that requests are received and transcripts are assembled whatever is read.
    """
    return processes - nodes if processes >= 3 * nodes else processes


def share_of(tenant: str, reading: Mapping[str, int], deferred: Collection[str], places: int) -> Share:
    """Return the share of a tenant.

    `reading` is how many files of each tenant are being read, `deferred` the tenants that have deferred jobs.
    """
    if places <= 0:
        return Share(own=_UNLIMITED, total=_UNLIMITED, places=_UNLIMITED)
    tenants = {tenant, *deferred, *(name for name, count in reading.items() if count > 0)}
    return Share(own=max(1, (places - 1) // len(tenants)), total=places - 1, places=places)


def next_tenant(reading: Mapping[str, int], deferred: Mapping[str, float], places: int) -> str | None:
    """Return the tenant whose deferred job is to be read next; None if no tenant may have another file read.

    Of those that may, it is the one with the fewest files being read, and then the one whose first deferred job ranks
    first. `deferred` is that rank by tenant: by priority, and then by when the job was accepted.
    """
    total = sum(reading.values())
    for tenant in sorted(deferred, key=lambda name: (reading.get(name, 0), deferred[name], name)):
        if share_of(tenant, reading, deferred, places).allows(reading.get(tenant, 0), total):
            return tenant
    return None


def full_tenants(reading: Mapping[str, int], deferred: Collection[str], places: int) -> list[str]:
    """Return the tenants that may not have one more file read because of those that they have."""
    total = sum(reading.values())
    return [
        tenant
        for tenant, own in reading.items()
        if own > 0 and not share_of(tenant, reading, deferred, places).allows(own, total)
    ]


def is_slow(since: Collection[float], now: float) -> bool:
    """Return whether no file of a tenant is likely to end at once, by when the reading of each began."""
    return all(now - moment > _QUICK for moment in since)
