"""Decides whether a pool grows, shrinks or holds, from its wanted and its live slots. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["grow", "shrink", "hold"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """How the size of a pool should change; `by` is 0 for hold."""

    action: Action
    by: int
    why: str


def decide(wanted: int | None, live: int | None, before: int | None) -> Change:
    """Return the change for a pool of `live` slots that should have `wanted`, and `before` at the previous reading.

    It shrinks at once, because memory is short now. It grows only as far as two consecutive readings allow,
    because the memory of other tenants fluctuates. A pool keeps one slot even if none is wanted: Celery
    requires one, and placement assigns it nothing that does not fit.
    """
    if live is None:
        return Change(action="hold", by=0, why="its node does not answer")
    if wanted is None:
        return Change(action="hold", by=0, why="its memory cannot be read")
    target = max(1, wanted)
    if target < live:
        return Change(action="shrink", by=live - target, why="fewer fit")
    if before is None:
        return Change(action="hold", by=0, why="first reading")
    agreed = min(target, max(1, before))
    if agreed > live:
        return Change(action="grow", by=agreed - live, why="two readings agree")
    return Change(action="hold", by=0, why="as wanted" if target == live else "waits for a second reading")
