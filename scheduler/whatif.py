"""`whisper-fleet slots`: how many slots a machine would have that one does not have."""

from __future__ import annotations

from scheduler.slots import Budget, SlotCount, SlotLimits, count_slots
from shared.memory import memory_of
from shared.models import resolve
from shared.settings import Precision, Settings


def slots_for(
    settings: Settings,
    *,
    model: str,
    memory_bytes: int,
    precision: Precision | None = None,
    device: str = "cuda",
    cores: int | None = None,
    rows: int = 1,
) -> SlotCount:
    """Slots with so much memory free, for one model; `cores` None: enough; `rows` is beam_size or best_of.

    Raises UnknownModel or ModelUnavailable.
    """
    memory = memory_of(
        resolve(model, settings.models),
        "float32" if device == "cpu" else precision or settings.default_precision,
        device=device,
        segment_duration=settings.segment_duration,
        rows_per_slot=rows,
    )
    budget = Budget(
        device=device,
        total_bytes=None,
        free_bytes=memory_bytes,
        engine_bytes=None,
        host_free_bytes=None,
        cores=settings.max_concurrent_limit if cores is None else cores,
    )
    return count_slots(budget, memory, SlotLimits.of(settings))
