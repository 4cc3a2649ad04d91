"""Hands waiting segments to GPUs: fairness.py decides whose turn it is, placement.py where the segment goes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from whisper_fleet.scheduler.dispatch.demand import Demand, demand_of, known_dims
from whisper_fleet.scheduler.dispatch.fairness import FairOrder, Turn
from whisper_fleet.scheduler.dispatch.gpu_load import gpu_load
from whisper_fleet.scheduler.dispatch.matching import match
from whisper_fleet.scheduler.dispatch.placement import Placement, Refusal, RefusalKind
from whisper_fleet.scheduler.dispatch.ports import Backlog, Messages, ReasonBoard, Registry
from whisper_fleet.scheduler.dispatch.wait_reasons import report_refusal, withdraw_reasons
from whisper_fleet.shared.errors import FleetError
from whisper_fleet.shared.models import ModelDims
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import Assignment, GpuStatus, Lane, Need

#: The number of lane heads that a round reads at most, so that a round stays short whatever the size of the fleet.
_HEADS = 128
#: The longest time in seconds to gather free slots before a pass.
_LONGEST_GATHERING = 0.02


class Dispatcher:
    """Matches waiting segments to free slots; several may run at once, because Ledger.assign is atomic."""

    def __init__(
        self,
        settings: Settings,
        *,
        backlog: Backlog,
        registry: Registry,
        messages: Messages,
        board: ReasonBoard,
        dims_of: Callable[[Need], ModelDims] = known_dims,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._backlog = backlog
        self._registry = registry
        self._messages = messages
        self._board = board
        self._dims_of = dims_of
        self._clock = clock
        self._sleep = sleep
        self._last_pass_seconds = 0.0

    def gather_and_dispatch(self) -> int:
        """Wait until more slots may be free, then dispatch; return how many segments were sent.

        A busy fleet would start a pass for every slot that becomes free. So a pass waits for as long as the last
        one took: passes take at most half of the time, and a small fleet, whose passes are short, hardly waits.
        Wake-ups are still dropped while it waits, since this pass sees their slots, too.
        """
        self._sleep(min(self._last_pass_seconds, _LONGEST_GATHERING))
        return self.dispatch()

    def dispatch(self) -> int:
        """Hand out segments until no slot is free or no waiting segment fits; return how many were sent.

        A round that saw every lane head leaves nothing to do: whatever comes later wakes the dispatcher again.
        """
        began = time.perf_counter()
        self._messages.accept_wakeups()  # before looking, or what comes meanwhile is missed
        sent = assigned = self._round(self._clock())
        while assigned >= _HEADS:
            assigned = self._round(self._clock())
            sent += assigned
        self._last_pass_seconds = time.perf_counter() - began
        return sent

    def _round(self, now: float) -> int:
        placement, shown = self._placement(now), self._board.shown_lanes()
        if placement.is_full and not shown:
            return 0
        lanes = self._backlog.lanes(min(max(placement.free_slots, 1), _HEADS))
        assignments, refused = self._match(lanes, placement, now)
        withdraw_reasons(self._board, shown, lanes, refused, now)
        return self._send(assignments, now) if assignments else 0

    def _placement(self, now: float) -> Placement:
        """Return a round of placements on the GPUs that are up, loaded as the ledger counts."""
        statuses = self._registry.gpus(now, self._settings.heartbeat_timeout)
        taken = self._backlog.loads([status.id for status in statuses])
        loads = [gpu_load(status, count) for status, count in zip(statuses, taken, strict=True)]
        able = [load for load in loads if load is not None]
        return Placement(able, margin=self._settings.memory_safety_margin)

    def _match(self, lanes: list[Lane], placement: Placement, now: float) -> tuple[list[Assignment], set[str]]:
        """Return what to assign, and the ids of the lanes that were refused for a reason to show."""
        order = FairOrder(lanes, now=now, ageing=self._settings.ageing)
        assignments: list[Assignment] = []
        refused: set[str] = set()
        for turn, place in match(order, placement, self._demand):
            if isinstance(place, Refusal):
                if report_refusal(self._board, turn.lane, place, now):
                    refused.add(turn.lane.id)
            else:
                assignments.append(_assignment(turn, place))
        return assignments, refused

    def _demand(self, lane: Lane) -> Demand | Refusal:
        try:
            return demand_of(lane.need, self._dims_of(lane.need))
        except FleetError as error:  # of a job that an older version planned, without the dimensions
            return Refusal(RefusalKind.MODEL_UNAVAILABLE, str(error))

    def _send(self, assignments: list[Assignment], now: float) -> int:
        """Send what the ledger lets us assign; another dispatcher may have been faster."""
        assignments.sort(key=lambda assignment: assignment.job)  # the ledger is called once per job
        deadline = now + self._settings.assign_timeout
        accepted = self._backlog.assign(assignments, deadline, now)
        ours = [assignment for assignment, is_ours in zip(assignments, accepted, strict=True) if is_ours]
        self._messages.send(ours)
        return len(ours)


def _assignment(turn: Turn, gpu: GpuStatus) -> Assignment:
    token = str(uuid.uuid4())
    return Assignment(job=turn.job.job, segment=turn.segment, gpu=gpu.id, token=token, slots=gpu.slots)
