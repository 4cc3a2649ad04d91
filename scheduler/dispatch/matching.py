"""Matches waiting segments to GPUs: the loop that the dispatcher and the simulation share. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from whisper_fleet.scheduler.dispatch.demand import Demand
from whisper_fleet.scheduler.dispatch.fairness import FairOrder, Turn
from whisper_fleet.scheduler.dispatch.placement import Placement, Refusal
from whisper_fleet.shared.wire import GpuStatus, Lane


def match(
    order: FairOrder, placement: Placement, demand_of: Callable[[Lane], Demand | Refusal]
) -> Iterator[tuple[Turn, GpuStatus | Refusal]]:
    """Yield each turn with the GPU for its segment, or with the reason why its lane gets none in this round.

    `demand_of` is called once per lane.
    """
    demands: dict[str, Demand | Refusal] = {}
    while (turn := order.next()) is not None:
        lane = turn.lane
        if lane.id not in demands:
            demands[lane.id] = demand_of(lane)
        demand = demands[lane.id]
        place = placement.place(demand, is_aged=turn.is_aged) if isinstance(demand, Demand) else demand
        if isinstance(place, Refusal):
            order.skip()
        else:
            order.taken()
        yield turn, place
