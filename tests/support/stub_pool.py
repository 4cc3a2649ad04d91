"""Stand in for the Celery pool where a test makes a `Node` without a worker."""

from __future__ import annotations

from collections.abc import Callable

from whisper_fleet.workers.pool.slots import Slots


class StubPool:
    """A pool of a fixed number of slots that never resizes."""

    def __init__(self, slots: int = 1) -> None:
        self.limit = slots
        self.slots = Slots(slots)
        self.on_resize: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """Do nothing: no slot runs."""
