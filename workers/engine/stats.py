"""What the engine did in the last seconds."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

_WINDOW_SECONDS = 30.0
_MEMORY_SECONDS = 10.0


@dataclass
class Meter:
    """Time by kind of work, and what came of it, over the last ten seconds."""

    started: float = field(default_factory=time.monotonic)
    _spent: deque[tuple[float, str, float]] = field(default_factory=deque)
    _answered: deque[tuple[float, int]] = field(default_factory=deque)

    def spent(self, kind: str, seconds: float) -> None:
        self._spent.append((time.monotonic(), kind, seconds))

    def answered(self, tokens: int) -> None:
        """A window is decoded."""
        self._answered.append((time.monotonic(), tokens))

    def shares(self) -> dict[str, float]:
        """Share of the time by kind of work; the rest is idle."""
        span = self._forget_old()
        totals = dict.fromkeys(("encode", "prefill", "decode"), 0.0)
        for _, kind, seconds in self._spent:
            totals[kind] += seconds
        shares = {kind: min(seconds / span, 1.0) for kind, seconds in totals.items()}
        return {**shares, "idle": max(0.0, 1.0 - sum(shares.values()))}

    def rates(self) -> tuple[float, float, float]:
        """Windows a second, times realtime, tokens a second."""
        span = self._forget_old()
        windows = len(self._answered) / span
        return windows, windows * _WINDOW_SECONDS, sum(tokens for _, tokens in self._answered) / span

    def _forget_old(self) -> float:
        now = time.monotonic()
        for old in (self._spent, self._answered):
            while old and old[0][0] < now - _MEMORY_SECONDS:
                old.popleft()
        return max(min(now - self.started, _MEMORY_SECONDS), 1e-3)
