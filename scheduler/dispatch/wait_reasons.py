"""Shows the clients of waiting jobs why their jobs wait, and withdraws a reason when it no longer holds. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from whisper_fleet.scheduler.dispatch.placement import Refusal, RefusalKind
from whisper_fleet.scheduler.dispatch.ports import ReasonBoard
from whisper_fleet.shared.wire import Lane

#: Seconds after which a reason that no longer occurs is forgotten; it is shown again if it comes back.
_REMEMBERED_SECONDS = 60


def report_refusal(board: ReasonBoard, lane: Lane, refusal: Refusal, now: float) -> bool:
    """Show a new reason to the clients of the lane's first jobs; return whether it is one to show.

    All slots being taken is the ordinary state of a busy fleet and is not shown. The board is shared by all
    dispatchers, so that they do not repeat each other.
    """
    if refusal.kind is RefusalKind.ALL_SLOTS_TAKEN:
        return False
    if board.replace(lane.id, refusal.reason, _REMEMBERED_SECONDS):
        for waiting in lane.jobs:
            board.show(waiting.job, refusal.reason, now)
    return True


def withdraw_reasons(
    board: ReasonBoard, shown: Collection[str], lanes: Sequence[Lane], refused: Collection[str], now: float
) -> None:
    """Withdraw the reasons of lanes that this round did not refuse, and show that to the clients of their first jobs.

    `refused` are the ids of lanes that were refused for a reason to show. A lane without waiting jobs has no client
    that still sees a reason: those of started jobs see their progress.
    """
    waiting = {lane.id: lane for lane in lanes}
    for lane_id in set(shown) - set(refused):
        if board.withdraw(lane_id) and lane_id in waiting:
            for job in waiting[lane_id].jobs:
                board.show(job.job, None, now)
