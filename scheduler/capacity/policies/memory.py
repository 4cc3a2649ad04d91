"""The default slot policy: as many slots as the memory, the host and the settings allow."""

from __future__ import annotations

from whisper_fleet.scheduler.capacity.explain import explain
from whisper_fleet.scheduler.capacity.slots import Budget, SlotCount, SlotLimits, slot_bounds
from whisper_fleet.shared.memory import ModelMemory
from whisper_fleet.shared.settings import Settings


class MemoryPolicy:
    """Counts slots by memory, within limits."""

    def __init__(self, limits: SlotLimits) -> None:
        self.limits = limits

    def count(self, budget: Budget, memory: ModelMemory) -> SlotCount:
        """Return the slots that fit, with the sum that leads to them; 0 if the model does not fit."""
        bounds = slot_bounds(budget, memory, self.limits)
        return SlotCount(slots=bounds.slots, reason=explain(bounds, budget, memory, self.limits))


def make(settings: Settings, argument: str) -> MemoryPolicy:
    """Return the policy for `memory`, which takes no argument."""
    if argument:
        raise ValueError("`memory` takes no argument")
    return MemoryPolicy(SlotLimits.of(settings))
