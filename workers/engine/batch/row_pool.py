"""Numbers to give out, rows or slots. The lowest free ones come first, so that the smallest graphs fit."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


class RowPool:
    """Gives out the numbers below a limit, which may change while numbers are out."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: set[int] = set()
        self._free: list[int] = list(range(limit))  # a heap of exactly those below the limit that are not taken

    @property
    def limit(self) -> int:
        """How many numbers there are to give out."""
        return self._limit

    @property
    def free(self) -> int:
        """How many numbers can be taken now."""
        return len(self._free)

    @property
    def extent(self) -> int:
        """How many numbers memory must be held for: those below the limit, and those that are still out."""
        return max(self._limit, max(self._taken, default=-1) + 1)

    def take(self, count: int = 1) -> list[int] | None:
        """Take the `count` lowest free numbers; None if there are fewer."""
        if self.free < count:
            return None
        numbers = [heapq.heappop(self._free) for _ in range(count)]
        self._taken.update(numbers)
        return numbers

    def give_back(self, numbers: Sequence[int]) -> None:
        """Return numbers that were taken."""
        self._taken.difference_update(numbers)
        for number in numbers:
            if number < self._limit:
                heapq.heappush(self._free, number)

    def set_limit(self, limit: int) -> None:
        """Give out only numbers below `limit` from now on; those that are out stay valid."""
        self._limit = limit
        self._free = sorted(set(range(limit)) - self._taken)
