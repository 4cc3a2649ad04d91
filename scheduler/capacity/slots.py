"""Counts the slots of a GPU from its free memory, a model's memory, the host and the settings. Pure.

explain.py puts a count into words; policies/ decides which count a GPU gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisper_fleet.shared.memory import ENCODER_ROWS, ModelMemory
from whisper_fleet.shared.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one GPU (or `cpu:0`) may use, in bytes; None if unknown."""

    device: str  # cuda or cpu
    total_bytes: int | None
    free_bytes: int | None
    engine_bytes: int | None  # held by our engine, which can use it again
    host_free_bytes: int | None  # this GPU's share of the host's memory; None on a CPU, where it is the same memory
    cores: int  # this GPU's share of the host's physical cores

    @property
    def available_bytes(self) -> int | None:
        """Return the free bytes plus those that our engine already holds."""
        return None if self.free_bytes is None else self.free_bytes + (self.engine_bytes or 0)


@dataclass(frozen=True, kw_only=True)
class SlotLimits:
    """The settings that limit the number of slots."""

    margin: float  # share of the available memory that is kept free
    minimum: int
    maximum: int
    per_core: int

    @classmethod
    def of(cls, settings: Settings) -> SlotLimits:
        """Return the limits in these settings."""
        return cls(
            margin=settings.memory_safety_margin,
            minimum=settings.min_concurrent_tasks,
            maximum=settings.max_concurrent_limit,
            per_core=settings.slots_per_core,
        )


@dataclass(frozen=True, kw_only=True)
class SlotBounds:
    """How many slots each resource allows; the smallest of them counts."""

    memory: int | None  # None: the free memory is unknown
    host: int
    cores: int
    maximum: int

    @property
    def slots(self) -> int:
        """Return the slots that all of them allow; 0 if the model does not fit or the memory is unknown."""
        return min(self.memory or 0, self.host, self.cores, self.maximum)


@dataclass(frozen=True, kw_only=True)
class SlotCount:
    """A number of slots, and the reason for it in words."""

    slots: int
    reason: str


def slot_bounds(budget: Budget, memory: ModelMemory, limits: SlotLimits) -> SlotBounds:
    """Return how many slots the device's memory, the host and the settings allow.

    MIN_CONCURRENT_TASKS raises what the cores allow, but never what the memory allows.
    """
    available = budget.available_bytes
    usable = None if available is None else int(available * (1 - limits.margin))
    slots_per_core = 1 if budget.device == "cpu" else limits.per_core
    return SlotBounds(
        memory=None if usable is None else _fitting(usable, memory, budget.device),
        host=_by_host(budget, memory, limits),
        cores=max(limits.minimum, 1, budget.cores * slots_per_core),
        maximum=limits.maximum,
    )


def combined(memories: Sequence[ModelMemory]) -> ModelMemory:
    """Return the memory of an engine that holds several models: all weights, and the maximum of everything else."""
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


def _fitting(usable_bytes: int, memory: ModelMemory, device: str) -> int:
    """Return how many slots fit into these bytes; on a CPU, the audio of a slot takes the same memory."""
    on_host = memory.host if device == "cpu" else 0
    with_full_batch = (usable_bytes - memory.weights - memory.workspace) // (memory.slot + on_host)
    if with_full_batch >= ENCODER_ROWS:
        return with_full_batch
    counts = range(1, ENCODER_ROWS)
    return max((n for n in counts if memory.total(n) + n * on_host <= usable_bytes), default=0)


def _by_host(budget: Budget, memory: ModelMemory, limits: SlotLimits) -> int:
    """Return for how many slots the host can hold audio and spectrograms; on a CPU `_fitting` has counted them."""
    if budget.device == "cpu" or budget.host_free_bytes is None:
        return limits.maximum
    return int(budget.host_free_bytes * (1 - limits.margin)) // memory.host
