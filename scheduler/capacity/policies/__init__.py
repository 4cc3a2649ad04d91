"""Slot policies: what decides how many slots a GPU gets. One file each, chosen by WHISPER_FLEET_SLOT_POLICY.

A policy is a module with a function `make(settings, argument)` that returns a `SlotPolicy`. The setting names a
module of this package (`memory`), or any module by its dotted path (`mycompany.night_shift`); what follows a colon is
the argument (`fixed:8`). To add a policy, add a file.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from whisper_fleet.scheduler.capacity.slots import Budget, SlotCount
from whisper_fleet.shared.errors import BadSetting
from whisper_fleet.shared.memory import ModelMemory
from whisper_fleet.shared.settings import Settings


class SlotPolicy(Protocol):
    """Decides the number of slots of a GPU, each time that its memory is read."""

    def count(self, budget: Budget, memory: ModelMemory) -> SlotCount:
        """Return the slots for a GPU with this budget whose engine holds models with this memory.

        Called for every GPU in every tick of the autoscaler, so it must be quick. The engine admits no row that does
        not fit: slots beyond the memory cost waiting, not a crash.
        """


def policy_of(settings: Settings) -> SlotPolicy:
    """Return the slot policy that the settings name; raises BadSetting if there is none or it cannot be made."""
    name, _, argument = settings.slot_policy.partition(":")
    path = name if "." in name else f"{__name__}.{name}"
    try:
        policy: SlotPolicy = import_module(path).make(settings, argument)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadSetting(name="WHISPER_FLEET_SLOT_POLICY", reason=f"{settings.slot_policy!r}: {error}") from error
    return policy
