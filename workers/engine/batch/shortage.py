"""What a model goes without when the device's memory runs out: decided here, done by `LoadedModel`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from whisper_fleet.shared.errors import EngineOutOfMemory

#: Seconds without a shortage after which twice as much is tried.
RECOVERY_SECONDS = 10.0

_COMPLAINTS = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What a model may use at once."""

    width: int  # windows encoded or prompted in one step
    slots: int


def is_shortage(error: BaseException) -> bool:
    """Whether the error says that memory ran out, which leaves the device as good as it was."""
    if isinstance(error, EngineOutOfMemory | torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(complaint in str(error) for complaint in _COMPLAINTS)


def less(allowed: Allowance, *, decoding: bool, windows: int, live: int) -> Allowance | None:
    """What is allowed after a step of `windows` ran out of memory; None: one window is too much even alone.

    `live` windows were in the batch besides them. A step grows narrower first; what a single window lacks, others
    must leave; and the last to go is the memory behind slots that nobody uses.
    """
    if windows > 1:
        half = windows // 2
        return _with_slots(allowed, half) if decoding else replace(allowed, width=half)
    if live:
        return _with_slots(allowed, max(live // 2, 1))
    return _with_slots(allowed, 1) if allowed.slots > 1 else None


def more(allowed: Allowance, wanted: Allowance) -> Allowance:
    """Twice of what is allowed, up to what is wanted."""
    return Allowance(width=min(2 * allowed.width, wanted.width), slots=min(2 * allowed.slots, wanted.slots))


def _with_slots(allowed: Allowance, slots: int) -> Allowance:
    return replace(allowed, slots=min(slots, allowed.slots))
