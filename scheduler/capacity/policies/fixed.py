"""The slot policy `fixed:N`: N slots on every GPU that has the memory for them, whatever its cores."""

from __future__ import annotations

from dataclasses import replace

from whisper_fleet.scheduler.capacity.policies.memory import MemoryPolicy
from whisper_fleet.scheduler.capacity.slots import SlotLimits
from whisper_fleet.shared.settings import Settings


def make(settings: Settings, argument: str) -> MemoryPolicy:
    """Return a policy with `argument` slots; ValueError if that is not a number of at least 1."""
    if not argument.isdecimal() or int(argument) < 1:
        raise ValueError("write `fixed:8` for 8 slots per GPU")
    slots = int(argument)
    return MemoryPolicy(replace(SlotLimits.of(settings), minimum=slots, maximum=slots))
