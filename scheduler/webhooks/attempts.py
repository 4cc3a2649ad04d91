"""What an attempt to deliver a webhook means: it arrived, it is tried again later, or it is given up. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Seconds from the first failed attempt to the second; each further pause is three times as long, up to the longest.
_FIRST_PAUSE, _GROWTH, _LONGEST_PAUSE = 5.0, 3.0, 4 * 3600.0
#: The status with which a receiver wants no more of it.
_GONE = 410


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came of a call."""

    status: int | None = None  # None: there was no HTTP answer
    error: str | None = None  # None: the receiver accepted
    retry_after: float | None = None  # seconds that the receiver wants to be left alone


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What becomes of a delivery after a call."""

    kind: Literal["delivered", "later", "undeliverable"]
    due: float = 0.0  # of the next attempt, Unix seconds
    error: str = ""


def outcome_of(reply: Reply, *, attempts: int, now: float, give_up: float, spread: float) -> Outcome:
    """Return what becomes of a delivery after its `attempts`-th call; the last one is made at `give_up`.

    `spread` between 0 and 1 lengthens the pause by up to a fifth: what failed together is not repeated together.
    """
    if reply.error is None:
        return Outcome(kind="delivered")
    if reply.status == _GONE or now >= give_up:
        return Outcome(kind="undeliverable", error=reply.error)
    grown = _FIRST_PAUSE * _GROWTH ** min(attempts - 1, 20)
    pause = min(max(grown, reply.retry_after or 0.0), _LONGEST_PAUSE) * (1 + spread / 5)
    return Outcome(kind="later", due=min(now + pause, give_up), error=reply.error)


def retry_after_seconds(header: str | None) -> float | None:
    """Return the seconds in a Retry-After header; None for a date, or for anything else."""
    return float(header) if header is not None and header.isascii() and header.isdigit() and len(header) < 10 else None
