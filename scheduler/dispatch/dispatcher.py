"""Hands waiting segments to GPUs: whose turn it is and where it goes are decided elsewhere, purely."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from whisper_fleet.scheduler.dispatch.demand import Demand, demand_of
from whisper_fleet.scheduler.dispatch.fairness import FairOrder, Turn
from whisper_fleet.scheduler.dispatch.gpu_load import gpu_load
from whisper_fleet.scheduler.dispatch.matching import match
from whisper_fleet.scheduler.dispatch.placement import Placement, Refusal, RefusalKind
from whisper_fleet.scheduler.dispatch.wait_reasons import WaitReasons
from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared import names
from whisper_fleet.shared.errors import FleetError
from whisper_fleet.shared.ledger.wakeup import dispatcher_looks
from whisper_fleet.shared.wire import Assignment, GpuStatus, Lane, SegmentMessage

#: Lane heads that one look reads at most, so that a look stays short however large the fleet is.
_HEADS = 128


class Dispatcher:
    """Brings together what waits and who is free; two at once are harmless, see Ledger.assign."""

    def __init__(self, services: Services, *, clock: Callable[[], float] = time.time) -> None:
        self._services = services
        self._settings = services.settings
        self._clock = clock
        self._waits = WaitReasons(services)
        #: Seconds that the last call of `dispatch` took.
        self.took = 0.0

    def dispatch(self) -> int:
        """Hand out segments until no slot is free or nothing that fits waits; how many were sent.

        A look that saw all heads there were has done all there was to do: what comes later pokes again.
        """
        began = time.perf_counter()
        dispatcher_looks(self._services.redis)
        sent = handed = self._round(self._clock())
        while handed >= _HEADS:
            handed = self._round(self._clock())
            sent += handed
        self.took = time.perf_counter() - began
        return sent

    def _round(self, now: float) -> int:
        placement = self._free(now)
        if placement.is_full:
            return 0
        lanes = self._services.ledger.lanes(min(max(placement.free_slots, 1), _HEADS))
        assignments = self._place(lanes, placement, now)
        return self._hand_out(assignments, now) if assignments else 0

    def _free(self, now: float) -> Placement:
        """The GPUs that are up, with their load by the ledger."""
        statuses = self._services.fleet.gpus(now, self._settings.heartbeat_timeout)
        taken = self._services.ledger.loads([status.id for status in statuses])
        loads = [gpu_load(status, count) for status, count in zip(statuses, taken, strict=True)]
        able = [load for load in loads if load is not None]
        return Placement(able, margin=self._settings.memory_safety_margin)

    def _place(self, lanes: list[Lane], placement: Placement, now: float) -> list[Assignment]:
        order = FairOrder(lanes, now=now, ageing=self._settings.ageing)
        assignments = []
        for turn, place in match(order, placement, self._demand):
            if isinstance(place, Refusal):
                self._waits.report(turn.lane, place, now)
            else:
                assignments.append(_assignment(turn, place))
        return assignments

    def _demand(self, lane: Lane) -> Demand | Refusal:
        try:
            return demand_of(lane.need, self._settings.models)
        except FleetError as error:  # a checkpoint that went away after intake saw it
            return Refusal(RefusalKind.MODEL_UNAVAILABLE, str(error))

    def _hand_out(self, assignments: list[Assignment], now: float) -> int:
        assignments.sort(key=lambda one: one.job)  # one call to the ledger a job
        deadline = now + self._settings.assign_timeout
        given = self._services.ledger.assign(assignments, deadline, now)
        mine = [one for one, is_mine in zip(assignments, given, strict=True) if is_mine]
        app = self._services.app
        with app.producer_or_acquire() as producer:
            for one in mine:
                message = SegmentMessage(job=one.job, segment=one.segment, token=one.token)
                app.send_task(
                    names.TRANSCRIBE_SEGMENT,
                    kwargs=message.model_dump(),
                    task_id=one.token,
                    queue=names.GpuName.parse(one.gpu).queue,
                    ignore_result=True,
                    producer=producer,
                )
        return len(mine)


def _assignment(turn: Turn, gpu: GpuStatus) -> Assignment:
    token = str(uuid.uuid4())
    return Assignment(job=turn.job.job, segment=turn.segment, gpu=gpu.id, token=token, slots=gpu.slots)
