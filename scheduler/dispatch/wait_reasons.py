"""Tells the clients of waiting jobs why nothing moves, whenever the reason changes."""

from __future__ import annotations

from typing import cast

from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.errors import JobNotFound
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.wire import Lane

#: What a busy fleet's clients need not be told.
_ORDINARY = "every slot is taken"
#: Seconds after which a reason that nobody gives any more is forgotten, and told anew if it comes back.
_REMEMBERED = 60


class WaitReasons:
    """The reasons by lane, in Redis, so that dispatchers do not repeat each other."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def tell(self, lane: Lane, reason: str, now: float) -> None:
        """Show the reason to the clients of the lane's first jobs if it is a new one."""
        if reason == _ORDINARY:
            return
        told = self._services.redis.set(keys.lane_wait(lane.id), reason, ex=_REMEMBERED, get=True)
        if told is None or text(cast("bytes", told)) != reason:
            self._show(lane, reason, now)

    def _show(self, lane: Lane, reason: str, now: float) -> None:
        for waiting in lane.jobs:
            try:
                record = self._services.ledger.job(waiting.job)
            except JobNotFound:
                continue
            progress = record.progress(now).model_copy(update={"message": reason})
            self._services.show(waiting.job, progress)
