"""How decisions of the autoscaler are counted: the field of `keys.SLOT_COUNTS`, written and read here alone."""

from __future__ import annotations

from typing import NamedTuple

from whisper_fleet.shared.wire import SlotDecision


class DecisionLabels(NamedTuple):
    """What decisions are counted by."""

    gpu: str
    action: str
    outcome: str
    why: str

    @classmethod
    def of(cls, decision: SlotDecision) -> DecisionLabels:
        """Return the labels of a decision."""
        return cls(gpu=decision.gpu, action=decision.action, outcome=decision.outcome, why=decision.why)

    @property
    def field(self) -> str:
        """Return the field of the hash in Redis."""
        return "/".join(self)

    @classmethod
    def parse(cls, field: str) -> DecisionLabels | None:
        """Return the labels in a field of the hash; None if another version wrote it with other labels."""
        parts = field.split("/", len(cls._fields) - 1)
        return cls(*parts) if len(parts) == len(cls._fields) else None
