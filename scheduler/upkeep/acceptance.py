"""Notices requests that no intake accepts: the queue does not shrink, and no intake node accepts a message.

Called by recovery at every tick, on any host. What it saw is kept in Redis, so that whichever host looks next goes on
from there, and so that `status`, `doctor` and the metrics can show it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from redis import Redis

from whisper_fleet.scheduler.intake.node.reports import intake_nodes
from whisper_fleet.shared import names
from whisper_fleet.shared.broker.queues import queue_length
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text

_log = logging.getLogger(__name__)

#: Seconds until requests that nothing accepts are reported: without an intake, and with one that may only be busy.
_WITHOUT_INTAKE = 10.0
_WITH_INTAKE = 60.0
#: Seconds after which what was seen counts no longer: nothing looks any more.
_EXPIRES = 120


@dataclass(frozen=True, kw_only=True)
class Stall:
    """Requests of which none has been accepted for a while; `since` is in Unix seconds."""

    since: float
    waiting: int  # messages
    accepted: int  # by all intake nodes since they started
    intakes: int  # nodes that are up
    is_logged: bool = False

    def is_reportable(self, now: float) -> bool:
        """Return whether it has lasted too long for an intake that is only busy."""
        return now - self.since >= (_WITH_INTAKE if self.intakes else _WITHOUT_INTAKE)

    def describe(self, now: float) -> str:
        """Return what is wrong and what to do about it."""
        waiting = "1 request waits" if self.waiting == 1 else f"{self.waiting:,} requests wait"
        fix = "no intake is up: start one, with `whisper-fleet up`"
        if self.intakes:
            fix = "its processes are all busy, or they hang: see intake.log"
        return f"{waiting}, and intake has accepted none for {now - self.since:.0f} s: {fix}"


def stall_after(before: Stall | None, look: Stall) -> Stall | None:
    """Return the stall that goes on or begins with a new look, whose `since` is its time; None if nothing waits."""
    if not look.waiting:
        return None
    if before is None or look.waiting < before.waiting or look.accepted != before.accepted:
        return look
    return replace(before, waiting=look.waiting, intakes=look.intakes)


class Acceptance:
    """Looks whether requests are accepted; every look may be repeated."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def look(self, now: float) -> None:
        """Look once, and log where a stall that is worth a report begins and ends."""
        nodes = intake_nodes(self._redis, now)
        seen = Stall(
            since=now,
            waiting=queue_length(self._redis, names.TRANSCRIBE_QUEUE),
            accepted=sum(node.accepted for node in nodes),
            intakes=len(nodes),
        )
        before = read_stall(self._redis)
        stall = stall_after(before, seen)
        if before is not None and before.is_logged and (stall is None or stall.since != before.since):
            _log.warning("intake accepts requests again after %.0f s", now - before.since)
        if stall is not None and stall.is_reportable(now) and not stall.is_logged:
            _log.error("%s", stall.describe(now))
            stall = replace(stall, is_logged=True)
        self._store(stall)

    def _store(self, stall: Stall | None) -> None:
        if stall is None:
            self._redis.delete(keys.STALLED)
            return
        fields: Any = {**vars(stall), "is_logged": int(stall.is_logged)}
        self._redis.hset(keys.STALLED, mapping=fields)
        self._redis.expire(keys.STALLED, _EXPIRES)


def read_stall(redis: Redis) -> Stall | None:
    """Return the requests of which none was accepted at the last looks, however short that is; None if none waits."""
    stored = cast("Mapping[bytes, bytes]", redis.hgetall(keys.STALLED))
    fields = {text(name): text(value) for name, value in stored.items()}
    if not fields:
        return None
    return Stall(
        since=float(fields["since"]),
        waiting=int(fields["waiting"]),
        accepted=int(fields["accepted"]),
        intakes=int(fields["intakes"]),
        is_logged=fields["is_logged"] == "1",
    )


def reported_stall(redis: Redis, now: float) -> str | None:
    """Return what is wrong with intake and what to do about it; None if requests are accepted."""
    stall = read_stall(redis)
    return stall.describe(now) if stall is not None and stall.is_reportable(now) else None
