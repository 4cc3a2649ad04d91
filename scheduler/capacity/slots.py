"""How many slots a GPU has: from its free memory, a model's memory and the settings, with the reason.

Pure. The scheduler, `whisper-fleet doctor`, `whisper-fleet slots` and the simulation all ask here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisper_fleet.shared.memory import ENCODER_ROWS, ModelMemory
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.units import readable_bytes

_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one GPU (or `cpu:0`) may use, in bytes; None is unknown."""

    device: str  # cuda or cpu
    total_bytes: int | None
    free_bytes: int | None
    engine_bytes: int | None  # held by our own engine: it may be used again
    host_free_bytes: int | None  # this GPU's share of the host's memory; not asked for on a CPU
    cores: int  # this GPU's share of the host's physical cores

    @property
    def available_bytes(self) -> int | None:
        return None if self.free_bytes is None else self.free_bytes + (self.engine_bytes or 0)


@dataclass(frozen=True, kw_only=True)
class SlotLimits:
    """The settings that bound slots."""

    margin: float  # share of the available memory that is kept free
    minimum: int
    maximum: int
    per_core: int

    @classmethod
    def of(cls, settings: Settings) -> SlotLimits:
        return cls(
            margin=settings.memory_safety_margin,
            minimum=settings.min_concurrent_tasks,
            maximum=settings.max_concurrent_limit,
            per_core=settings.slots_per_core,
        )


@dataclass(frozen=True, kw_only=True)
class SlotCount:
    """A number of slots and why it is that number."""

    slots: int
    reason: str


def combined(memories: Sequence[ModelMemory]) -> ModelMemory:
    """The memory of models that one engine holds at once: every weight, and the largest of all else."""
    return ModelMemory(
        weights=sum(memory.weights for memory in memories),
        form=max(memories, key=lambda memory: memory.cross).form,
        cross=max(memory.cross for memory in memories),
        self_kv=max(memory.self_kv for memory in memories),
        logits=max(memory.logits for memory in memories),
        encoder=max(memory.encoder for memory in memories),
        context=max(memory.context for memory in memories),
        graphs=max(memory.graphs for memory in memories),
        host=max(memory.host for memory in memories),
    )


def count_slots(budget: Budget, memory: ModelMemory, limits: SlotLimits) -> SlotCount:
    """The slots that fit into the memory, bounded by the host's memory and cores and by the settings.

    MIN_CONCURRENT_TASKS lifts what cores allow, never what memory allows. 0: the model does not fit.
    """
    available = budget.available_bytes
    if available is None:
        return SlotCount(slots=0, reason="0 slots: the free memory is unknown")
    by_memory = _fitting(int(available * (1 - limits.margin)), memory, budget.device)
    if by_memory < 1:
        return SlotCount(slots=0, reason=_too_small(budget, memory, limits))
    by_host = _by_host(budget, memory, limits)
    by_cores = max(limits.minimum, 1, budget.cores * (1 if budget.device == "cpu" else limits.per_core))
    slots = min(by_memory, by_host, by_cores, limits.maximum)
    bounds = {"host memory allows": by_host, "cores allow": by_cores, "cap allows": limits.maximum}
    binding = [f"{name} {bound}" for name, bound in bounds.items() if bound == slots < by_memory]
    return SlotCount(slots=slots, reason=_reason(slots, budget, memory, limits, binding))


def _fitting(budget_bytes: int, memory: ModelMemory, device: str) -> int:
    """Whole slots in so many bytes; on a CPU a slot's audio comes out of the same memory."""
    on_host = memory.host if device == "cpu" else 0
    with_full_batch = (budget_bytes - memory.weights - memory.workspace) // (memory.slot + on_host)
    if with_full_batch >= ENCODER_ROWS:
        return with_full_batch
    counts = range(1, ENCODER_ROWS)
    return max((n for n in counts if memory.total(n) + n * on_host <= budget_bytes), default=0)


def _by_host(budget: Budget, memory: ModelMemory, limits: SlotLimits) -> int:
    """Slots whose audio and spectrograms the host can hold; on a CPU `_fitting` has counted them."""
    if budget.device == "cpu" or budget.host_free_bytes is None:
        return limits.maximum
    return int(budget.host_free_bytes * (1 - limits.margin)) // memory.host


def _reason(slots: int, budget: Budget, memory: ModelMemory, limits: SlotLimits, binding: Sequence[str]) -> str:
    a_slot = memory.slot + (memory.host if budget.device == "cpu" else 0)
    parts = [
        _memory_words(budget, limits),
        f"weights {_gib(memory.weights)}",
        f"workspace {_gib(memory.total(slots) - memory.weights - slots * memory.slot)}",
        f"{_gib(a_slot)} per slot ({memory.form} cross-attention)",
    ]
    ends = [*binding] or [f"cap {limits.maximum}"]
    if slots < limits.minimum:
        ends.append(f"fewer than the minimum of {limits.minimum}")
    return f"{slots} slot{'' if slots == 1 else 's'}: {', '.join(parts)}; {'; '.join(ends)}"


def _too_small(budget: Budget, memory: ModelMemory, limits: SlotLimits) -> str:
    needed = memory.smallest + (memory.host if budget.device == "cpu" else 0)
    return (
        f"0 slots: the model needs {readable_bytes(needed)} with one slot, "
        f"more than is left of {_memory_words(budget, limits)}"
    )


def _memory_words(budget: Budget, limits: SlotLimits) -> str:
    total = "" if budget.total_bytes is None else f" of {budget.total_bytes / _GIB:.1f}"
    ours = f", {_gib(budget.engine_bytes)} held by our engine" if budget.engine_bytes else ""
    return f"{(budget.free_bytes or 0) / _GIB:.1f} GiB free{total}{ours}, {limits.margin * 100:.0f} % kept"


def _gib(size: int) -> str:
    """GiB to two digits that mean something: 1.5, 0.38, 0.012."""
    gib = size / _GIB
    return f"{gib:.1f}" if gib >= 1 else f"{gib:.2f}" if gib >= 0.1 else f"{gib:.3f}"
