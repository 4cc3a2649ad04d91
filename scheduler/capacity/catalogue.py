"""GPUs that people ask about without having them: memory as NVML reports it, and compute capability."""

from __future__ import annotations

from whisper_fleet.scheduler.capacity.nvml import GpuReading

_MIB = 2**20

#: Name -> MiB of memory and compute capability, of an empty card.
_CARDS: dict[str, tuple[int, tuple[int, int]]] = {
    "t4": (15_360, (7, 5)),
    "l4": (23_034, (8, 9)),
    "a10": (23_028, (8, 6)),
    "l40s": (46_068, (8, 9)),
    "a100-40gb": (40_960, (8, 0)),
    "a100": (81_920, (8, 0)),
    "h100": (81_559, (9, 0)),
    "h200": (143_771, (9, 0)),
    "b200": (183_359, (10, 0)),
    "4090": (24_564, (8, 9)),
    "5090": (32_607, (12, 0)),
}
#: The names, in lower case.
CARDS = tuple(_CARDS)


def empty_card(name: str) -> GpuReading:
    """Return the reading of an empty card of this name, one of CARDS."""
    mebibytes, capability = _CARDS[name]
    size = mebibytes * _MIB
    return GpuReading(index=0, name=name, capability=capability, total_bytes=size, free_bytes=size)
