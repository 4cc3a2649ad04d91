"""Brings turns and places together: the one loop that the dispatcher and the simulation share. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from whisper_fleet.scheduler.dispatch.fairness import FairOrder, Turn
from whisper_fleet.scheduler.dispatch.placement import Demand, Placement, Refusal
from whisper_fleet.shared.wire import GpuStatus, Lane


def match(
    order: FairOrder, placement: Placement, demand_of: Callable[[Lane], Demand | Refusal]
) -> Iterator[tuple[Turn, GpuStatus | Refusal]]:
    """Each turn with the GPU that its segment gets, or with why its lane gets none this time."""
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
