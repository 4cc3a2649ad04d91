"""Numbers to give out: rows of the batch, slots of the cache. Always the lowest free ones, so that few graphs fit."""

from __future__ import annotations

import heapq


class RowPool:
    """Hands out the numbers below `limit`; the limit may move while numbers are out."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken: set[int] = set()
        self._free: list[int] = list(range(limit))

    @property
    def free(self) -> int:
        """How many numbers can be taken now."""
        return self.limit - sum(1 for number in self._taken if number < self.limit)

    @property
    def extent(self) -> int:
        """One more than the highest number that is out."""
        return max(self._taken, default=-1) + 1

    def take(self, count: int = 1) -> list[int] | None:
        """So many numbers, or None when there are not enough."""
        if self.free < count:
            return None
        numbers: list[int] = []
        while len(numbers) < count:
            number = heapq.heappop(self._free)
            if number < self.limit:
                numbers.append(number)
        self._taken.update(numbers)
        return numbers

    def give_back(self, numbers: list[int]) -> None:
        self._taken.difference_update(numbers)
        for number in numbers:
            if number < self.limit:
                heapq.heappush(self._free, number)

    def move_limit(self, limit: int) -> None:
        """From now on only numbers below `limit` are given out; those that are out stay valid."""
        self.limit = limit
        self._free = sorted(set(range(limit)) - self._taken)
