"""Shows the clients of waiting jobs why their jobs wait, whenever the reason changes. Pure."""

from __future__ import annotations

from whisper_fleet.scheduler.dispatch.placement import Refusal, RefusalKind
from whisper_fleet.scheduler.dispatch.ports import ReasonBoard
from whisper_fleet.shared.wire import Lane

#: Seconds after which a reason that no longer occurs is forgotten; it is shown again if it comes back.
_REMEMBERED_SECONDS = 60


def report_refusal(board: ReasonBoard, lane: Lane, refusal: Refusal, now: float) -> None:
    """Show a new reason to the clients of the lane's first jobs.

    All slots being taken is the ordinary state of a busy fleet and is not shown. The board is shared by all
    dispatchers, so that they do not repeat each other.
    """
    if refusal.kind is RefusalKind.ALL_SLOTS_TAKEN:
        return
    if board.replace(lane.id, refusal.reason, _REMEMBERED_SECONDS):
        for waiting in lane.jobs:
            board.show(waiting.job, refusal.reason, now)
