"""Keeps the engine as large as the pool, reads its statistics, and recognises an engine that is frozen."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from whisper_fleet.shared.errors import EngineError
from whisper_fleet.workers.link.protocol import EngineStats
from whisper_fleet.workers.node.engine_process import EngineProcess
from whisper_fleet.workers.node.loop import Loop

_log = logging.getLogger(__name__)

#: Consecutive looks without an answer and without computing after which an engine is frozen. A machine that is merely
#: busy gives every process some processor time between four looks.
LOOKS = 4


@dataclass(frozen=True, kw_only=True)
class EngineView:
    """What is known of the engine."""

    stats: EngineStats | None = None  # the last, perhaps of an engine that has ended; None: none answered yet
    slots: int | None = None  # that the running engine was set to; None: it was not set yet
    answered: float  # when an engine answered last, on the monotonic clock


class EngineMonitor:
    """Asks the engine in a thread of its own, because the engine may take its time.

    `view` is replaced as a whole, by that thread alone. So other threads read it without a lock.
    """

    def __init__(
        self, engine: EngineProcess, pool_size: Callable[[], int], interval: float, on_resized: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._pool_size = pool_size
        self._on_resized = on_resized
        self.view = EngineView(answered=time.monotonic())
        self.loop = Loop("engine-monitor", self._step, interval)

    @property
    def silent_seconds(self) -> float:
        """The time since the engine answered, or was started or ended, if that is later."""
        return time.monotonic() - max(self.view.answered, self._engine.since)

    def _step(self) -> None:
        if not self._engine.ready:
            self.view = replace(self.view, slots=None)
            return
        slots = self._pool_size()
        is_resized = slots != self.view.slots
        try:
            if is_resized:
                self._engine.client.resize(slots)
            stats = self._engine.client.stats()
        except EngineError as error:
            _log.warning("the engine does not answer: %s", error)
            return
        self.view = EngineView(stats=stats, slots=slots, answered=time.monotonic())
        if is_resized:
            self._on_resized()


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a node saw of its engine at one moment of the monotonic clock."""

    at: float
    answered: float  # when the engine answered last, on the same clock
    cpu_seconds: float  # that the engine's process has used


class FreezeDetector:
    """Counts looks at which nothing has changed. Looks, not seconds: after a pause of the whole machine, it is one."""

    def __init__(self, interval: float) -> None:
        #: Looks that come sooner after each other, in seconds, count as one.
        self._spacing = interval / 2
        self._last: Look | None = None
        self._unchanged = 0

    def is_frozen(self, look: Look | None) -> bool:
        """Return whether the engine is frozen, given the next look at it; None: there is no engine to look at."""
        last = self._last
        if look is None or last is None or look.answered != last.answered or look.cpu_seconds != last.cpu_seconds:
            self._last, self._unchanged = look, 0
        elif look.at - last.at >= self._spacing:
            self._last = look
            self._unchanged += 1
        return self._unchanged >= LOOKS
