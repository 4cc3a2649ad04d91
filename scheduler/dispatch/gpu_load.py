"""A GPU as placement sees it: its reported status plus what changes while segments are placed. Pure."""

from __future__ import annotations

from whisper_fleet.shared.wire import GpuStatus


class GpuLoad:
    """The load and the memory of one GPU during one round of placements.

    Every round creates one for each GPU of the fleet, so it is a plain class with slots instead of a dataclass.
    """

    __slots__ = ("engine_bytes", "free_bytes", "models", "status", "taken")

    def __init__(self, status: GpuStatus, taken: int) -> None:
        self.status = status
        self.taken = taken  # slots that run a segment or have one assigned, as counted by the ledger
        self.free_bytes = status.free_bytes
        self.engine_bytes = status.engine_bytes
        self.models = status.models  # loaded, or about to be loaded: name/precision

    @property
    def load(self) -> float:
        """Return taken slots over slots."""
        return self.taken / self.status.slots

    @property
    def free_slots(self) -> int:
        """Return how many more segments the GPU can take."""
        return max(0, self.status.slots - self.taken)


def gpu_load(status: GpuStatus, taken: int) -> GpuLoad | None:
    """Combine a GPU's status with the ledger's count of its taken slots; None if it can take no segment at all."""
    return GpuLoad(status, taken) if status.ready and status.slots >= 1 else None
