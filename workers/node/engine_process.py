"""Keeps one engine process running; see ChildProcess."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from whisper_fleet.shared.errors import EngineDied, EngineError
from whisper_fleet.workers.child_process import ChildProcess
from whisper_fleet.workers.link.client import EngineClient

log = logging.getLogger(__name__)


class EngineProcess(ChildProcess):
    """An engine behind a Unix socket."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], socket: Path, on_change: Callable[[], None]
    ) -> None:
        super().__init__("engine", command, environment, self._answers_stats, on_change)
        self.client = EngineClient(socket)

    def _answers_stats(self) -> bool:
        try:
            self.client.stats()
        except EngineDied:
            return False
        except EngineError as error:
            log.error("the engine is up, but cannot report its state: %s", error)
            time.sleep(1.0)
            return False
        return True
