"""Puts a slot count into words, for `doctor`, `slots`, Flower, the log and the autoscaler's decisions. Pure."""

from __future__ import annotations

from whisper_fleet.scheduler.capacity.slots import Budget, SlotBounds, SlotLimits
from whisper_fleet.shared.memory import ModelMemory
from whisper_fleet.shared.units import readable_bytes


def explain(bounds: SlotBounds, budget: Budget, memory: ModelMemory, limits: SlotLimits) -> str:
    """Return the number of slots and why it is that number, in one sentence."""
    if bounds.memory is None:
        return "0 slots: the free memory is unknown"
    if bounds.memory < 1:
        return _too_small(budget, memory, limits)
    slots = bounds.slots
    parts = [
        _available(budget, limits),
        f"weights {readable_bytes(memory.weights)}",
        f"workspace {readable_bytes(memory.total(slots) - memory.weights - slots * memory.slot)}",
        f"{readable_bytes(memory.slot + _host_part(budget, memory))} per slot ({memory.form} cross-attention)",
    ]
    ends = _binding(bounds) or [f"cap {limits.maximum}"]
    if slots < limits.minimum:
        ends.append(f"fewer than the minimum of {limits.minimum}")
    return f"{slots} slot{'' if slots == 1 else 's'}: {', '.join(parts)}; {'; '.join(ends)}"


def _binding(bounds: SlotBounds) -> list[str]:
    """Return what allows fewer slots than the memory does; empty if the memory is the limit."""
    others = {"host memory allows": bounds.host, "cores allow": bounds.cores, "cap allows": bounds.maximum}
    return [f"{name} {bound}" for name, bound in others.items() if bound == bounds.slots < (bounds.memory or 0)]


def _too_small(budget: Budget, memory: ModelMemory, limits: SlotLimits) -> str:
    needed = readable_bytes(memory.smallest + _host_part(budget, memory))
    return f"0 slots: the model needs {needed} with one slot, more than is left of {_available(budget, limits)}"


def _host_part(budget: Budget, memory: ModelMemory) -> int:
    """Return the bytes of a slot's audio where they come out of the device's memory: on a CPU."""
    return memory.host if budget.device == "cpu" else 0


def _available(budget: Budget, limits: SlotLimits) -> str:
    total = "" if budget.total_bytes is None else f" of {readable_bytes(budget.total_bytes)}"
    ours = f", {readable_bytes(budget.engine_bytes)} held by our engine" if budget.engine_bytes else ""
    return f"{readable_bytes(budget.free_bytes or 0)} free{total}{ours}, {limits.margin * 100:.0f} % kept"
