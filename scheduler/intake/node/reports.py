"""Which intake nodes are up: each reports itself every few seconds, and counts until it is silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from redis import Redis

from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text

#: Seconds after which an intake node that reports nothing no longer counts.
_SILENT = 20.0


@dataclass(frozen=True, kw_only=True)
class IntakeNode:
    """What an intake node reported of itself."""

    reported: float  # Unix seconds
    processes: int
    accepted: int  # messages since it started

    @classmethod
    def parse(cls, stored: str) -> IntakeNode:
        """Return what `report_intake` stored."""
        moment, processes, accepted, *_ = stored.split()  # a newer version may store more
        return cls(reported=float(moment), processes=int(processes), accepted=int(accepted))


def report_intake(redis: Redis, node: str, processes: int, accepted: int, now: float) -> None:
    """Report that an intake node is up."""
    redis.hset(keys.INTAKES, node, f"{now} {processes} {accepted}")


def withdraw_intake(redis: Redis, node: str) -> None:
    """Report that an intake node stops."""
    redis.hdel(keys.INTAKES, node)


def intake_nodes(redis: Redis, now: float) -> list[IntakeNode]:
    """Return the intake nodes that are up."""
    stored = cast("dict[bytes, bytes]", redis.hgetall(keys.INTAKES))
    reports = [IntakeNode.parse(text(report)) for report in stored.values()]
    return [node for node in reports if now - node.reported <= _SILENT]
