"""Which rows are still active, as the host learns it: at once from a CPU, one decode step later from a GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from whisper_fleet.workers.engine.sampling.row_state import RowState


class ActiveRows(Protocol):
    """The host's view of the rows that are active."""

    def look(self, step: int) -> None:
        """Take down which rows are active after a decode step, without waiting for the device."""

    def seen(self) -> Iterator[tuple[int, list[int]]]:
        """Yield the steps that can be seen by now, oldest first: number, and 0 or 1 for every row."""


def active_rows(state: RowState) -> ActiveRows:
    """Return the view that suits the device of the state."""
    return DeviceActiveRows(state) if state.active.is_cuda else HostActiveRows(state)


class HostActiveRows:
    """Reads the state where it is."""

    def __init__(self, state: RowState) -> None:
        self._state = state
        self._seen: deque[tuple[int, list[int]]] = deque()

    def look(self, step: int) -> None:
        """Read the rows at once."""
        self._seen.append((step, self._state.active.tolist()))

    def seen(self) -> Iterator[tuple[int, list[int]]]:
        """Yield every step that was looked at."""
        while self._seen:
            yield self._seen.popleft()


@dataclass(frozen=True)
class _Copy:
    """The active rows after a decode step, on their way to the host."""

    step: int
    active: Tensor  # pinned
    is_there: torch.cuda.Event


class DeviceActiveRows:
    """Copies the state to the host and reads each copy one step later, so that the device is never waited for long."""

    def __init__(self, state: RowState) -> None:
        self._state = state
        self._copies: deque[_Copy] = deque()

    def look(self, step: int) -> None:
        """Begin a copy."""
        active = self._state.active
        host = torch.empty(active.shape, dtype=torch.int32, pin_memory=True)
        host.copy_(active, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._copies.append(_Copy(step, host, event))

    def seen(self) -> Iterator[tuple[int, list[int]]]:
        """Yield all copies but the last; waits for them."""
        while len(self._copies) > 1:
            copy = self._copies.popleft()
            copy.is_there.synchronize()
            yield copy.step, copy.active.tolist()
