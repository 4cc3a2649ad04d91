"""Keeps the engine as large as the pool, and reads its statistics."""

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
