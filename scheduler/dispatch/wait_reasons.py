"""Shows the clients of waiting jobs why their jobs wait, whenever the reason changes."""

from __future__ import annotations

from typing import cast

from whisper_fleet.scheduler.dispatch.placement import Refusal, RefusalKind
from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.errors import JobNotFound
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.wire import Lane

#: Seconds after which a reason that no longer occurs is forgotten; it is reported again if it comes back.
_REMEMBERED = 60


class WaitReasons:
    """The current reason per lane, kept in Redis so that dispatchers do not repeat each other."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def report(self, lane: Lane, refusal: Refusal, now: float) -> None:
        """Show the reason to the clients of the lane's first jobs if it is new; a busy fleet is not news."""
        if refusal.kind is RefusalKind.ALL_SLOTS_TAKEN:
            return
        reason = refusal.reason
        previous = self._services.redis.set(keys.lane_wait(lane.id), reason, ex=_REMEMBERED, get=True)
        if previous is None or text(cast("bytes", previous)) != reason:
            self._show(lane, reason, now)

    def _show(self, lane: Lane, reason: str, now: float) -> None:
        for waiting in lane.jobs:
            try:
                record = self._services.ledger.job(waiting.job)
            except JobNotFound:
                continue
            progress = record.progress(now).model_copy(update={"message": reason})
            self._services.show(waiting.job, progress)
