"""Reloads the settings of this process when it gets SIGHUP, as `whisper-fleet reload` and `systemctl reload` send it.

Callers: the main function or Celery bootstep of each program. The signal's handler only puts a request into a queue; a
thread reads the file, because a handler must not log. A settings file that is wrong is logged and changes nothing.

The children of a pool get no signal, which could kill one that has just been forked. They share a number with their
main process, and reload before their next task when it has changed.
"""

from __future__ import annotations

import logging
import mmap
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from types import FrameType

from whisper_fleet.shared.errors import FleetError
from whisper_fleet.shared.process.program import program_name
from whisper_fleet.shared.process.record import ProcessRecord
from whisper_fleet.shared.settings import Settings, load_settings
from whisper_fleet.shared.settings.reload import Reloaded, reload_settings

_log = logging.getLogger(__name__)

_NUMBER_BYTES = 8


class Reloader:
    """The reloads of one process and of the children that it forks; there is one per process, `reloader`."""

    def __init__(self) -> None:
        self._requests: SimpleQueue[None] = SimpleQueue()
        self._copies: list[Settings] = []
        self._then: list[Callable[[], None]] = []
        self._shared = mmap.mmap(-1, _NUMBER_BYTES)  # also in children; only the main process writes it
        self._seen = 0
        self._is_started = False

    def start(self, *copies: Settings) -> None:
        """Reload on SIGHUP from now on. Only a main thread can take over a signal: elsewhere nothing happens.

        `copies` are settings that were copied from those of `load_settings()` with another value in one of them.
        In a terminal SIGHUP means that the terminal was closed, and stays so.
        """
        self._copies += copies
        if self._is_started or has_terminal() or threading.current_thread() is not threading.main_thread():
            return
        self._is_started = True
        run = load_settings().var_dir.absolute() / "run"
        record = ProcessRecord.of_this_process(program_name())
        signal.signal(signal.SIGHUP, self._request)
        threading.Thread(target=self._run, args=(run, record), name="reload", daemon=True).start()
        record.write(run)

    def also(self, call: Callable[[], None]) -> None:
        """Call this after each reload, too."""
        self._then.append(call)

    def reload(self) -> Reloaded:
        """Read the settings file now; raises BadSetting or SetupError, and then nothing has changed."""
        reloaded = reload_settings(load_settings(), *self._copies)
        logging.getLogger().setLevel(load_settings().log_level)
        for call in self._then:
            call()
        return reloaded

    def follow(self) -> None:
        """Reload in a child of the pool if its main process has reloaded since the child's last task."""
        number = self._number()
        if number != self._seen:
            self._seen = number
            try:
                self.reload()
            except FleetError as error:  # the file has changed again since the main process read it
                _log.error("the settings stay as they are: %s", error)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self._requests.put(None)  # SimpleQueue.put is safe in a handler

    def _run(self, run: Path, record: ProcessRecord) -> None:
        while True:
            self._requests.get()
            try:
                reloaded = self.reload()
                self._seen = self._number() + 1
                self._shared[:] = self._seen.to_bytes(_NUMBER_BYTES, "little")
                _log.info("settings reloaded; changed: %s", ", ".join(reloaded.changed) or "none")
                if reloaded.needs_restart:
                    _log.warning("changed in the file, but need a restart: %s", ", ".join(reloaded.needs_restart))
                record = record.after(reloaded)
            except FleetError as error:
                _log.error("the settings stay as they are: %s", error)
                record = record.after(Reloaded(), str(error))
            except Exception as error:
                _log.exception("the settings stay as they are")
                record = record.after(Reloaded(), f"{type(error).__name__}: {error}")
            record.write(run)

    def _number(self) -> int:
        return int.from_bytes(self._shared[:], "little")


def has_terminal() -> bool:
    """Return whether this process was started in a terminal, whose end is also a SIGHUP."""
    return sys.stdin is not None and sys.stdin.isatty()


#: Of this process and its children: made before they are forked.
reloader = Reloader()
