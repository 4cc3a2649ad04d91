"""What the engine did in the last ten seconds: its time by kind of work, and its rates."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, get_args

Work = Literal["encode", "prefill", "decode"]

_WINDOW_SECONDS = 30.0
_MEMORY_SECONDS = 10.0


@dataclass
class Meter:
    """Collects times and replies, and forgets what is older than ten seconds."""

    started: float = field(default_factory=time.monotonic)
    _spent: deque[tuple[float, Work, float]] = field(default_factory=deque)
    _answered: deque[tuple[float, int]] = field(default_factory=deque)

    def spent(self, kind: Work, seconds: float) -> None:
        """Note the time that a step took."""
        self._spent.append((time.monotonic(), kind, seconds))

    def answered(self, tokens: int) -> None:
        """Note that a window is decoded, to this many tokens."""
        self._answered.append((time.monotonic(), tokens))

    def shares(self) -> dict[str, float]:
        """Return the share of the time, 0 to 1, by kind of work, and `idle`, the rest."""
        span = self._forget_old()
        totals: dict[str, float] = dict.fromkeys(get_args(Work), 0.0)
        for _, kind, seconds in self._spent:
            totals[kind] += seconds
        shares = {kind: min(seconds / span, 1.0) for kind, seconds in totals.items()}
        return {**shares, "idle": max(0.0, 1.0 - sum(shares.values()))}

    def rates(self) -> tuple[float, float, float]:
        """Return windows per second, times realtime, and tokens per second."""
        span = self._forget_old()
        windows = len(self._answered) / span
        return windows, windows * _WINDOW_SECONDS, sum(tokens for _, tokens in self._answered) / span

    def _forget_old(self) -> float:
        now = time.monotonic()
        for old in (self._spent, self._answered):
            while old and old[0][0] < now - _MEMORY_SECONDS:
                old.popleft()
        return max(min(now - self.started, _MEMORY_SECONDS), 1e-3)
