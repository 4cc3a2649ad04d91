"""What dispatch needs of the world, as protocols: it imports neither Redis nor Celery, and tests pass in fakes.

`scheduler/dispatch_adapter.py` implements them for a running fleet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from whisper_fleet.shared.wire import Assignment, GpuStatus, Lane


class Backlog(Protocol):
    """The ledger: what waits, and who has what."""

    def lanes(self, heads: int) -> list[Lane]:
        """Return the first `heads` jobs of every lane, each with its first waiting segments."""

    def loads(self, gpus: Sequence[str]) -> list[int]:
        """Return how many segments are assigned to each of these GPUs or run on it."""

    def assign(self, assignments: Sequence[Assignment], deadline: float, now: float) -> list[bool]:
        """Assign waiting segments, to be started by `deadline`; False if one is taken or its GPU is full."""


class Registry(Protocol):
    """The registry of GPUs."""

    def gpus(self, now: float, timeout: float) -> list[GpuStatus]:
        """Return the GPUs whose last heartbeat is at most `timeout` seconds old."""


class Messages(Protocol):
    """The messages that wake the dispatcher, and those that it sends."""

    def accept_wakeups(self) -> None:
        """From now on, a wake-up sends a new message; until then, further wake-ups are dropped."""

    def send(self, assignments: Sequence[Assignment]) -> None:
        """Send each assigned segment to the queue of its GPU."""


class ReasonBoard(Protocol):
    """Why each lane waits, as shown to the clients of its jobs."""

    def replace(self, lane: str, reason: str, seconds: int) -> bool:
        """Set a lane's reason, to be forgotten after `seconds`; return whether it was another one before."""

    def shown_lanes(self) -> set[str]:
        """Return the lanes whose clients are shown a reason."""

    def withdraw(self, lane: str) -> bool:
        """Remove a lane's reason; return whether there was one."""

    def show(self, job: str, reason: str | None, now: float) -> None:
        """Show the reason to the client of a job, or that there is none."""
