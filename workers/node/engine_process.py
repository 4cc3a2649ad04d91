"""Keeps one engine process running: starts it, waits until it answers, and restarts it when it ends."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from whisper_fleet.shared.errors import EngineDied, EngineError
from whisper_fleet.workers.link.client import EngineClient

log = logging.getLogger(__name__)

#: Seconds between the end of an engine and its restart; doubled as long as engines end soon after their start.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
#: Seconds after which the end of an engine no longer counts as a failed start.
STABLE_AFTER = 60.0
#: Seconds that an engine gets to end by itself.
PATIENCE = 5.0


class EngineProcess:
    """A child process behind a Unix socket. It ends with this process, which holds its standard input open.

    A thread starts and restarts it, and alone assigns `_child` and `since`; other threads only read them.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        socket: Path,
        on_change: Callable[[], None],
    ) -> None:
        self.client = EngineClient(socket)
        self._command = list(command)
        self._environment = {**os.environ, **environment}
        self._on_change = on_change
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        #: When an engine was last started, or ended; on the monotonic clock.
        self.since = time.monotonic()
        self._thread = threading.Thread(target=self._keep_alive, name="engine", daemon=True)

    def start(self) -> None:
        """Start the engine and return at once; `ready` is set when it answers."""
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether the engine answers."""
        return self._ready.is_set()

    def wait_ready(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the engine; return whether it answers."""
        return self._ready.wait(timeout)

    @property
    def cpu_seconds(self) -> float | None:
        """The processor time that the running engine has used; None if it has ended."""
        child = self._child
        try:
            times = psutil.Process(child.pid).cpu_times() if child is not None else None
        except psutil.Error:
            return None
        return times.user + times.system if times is not None else None

    def kill(self) -> None:
        """End an engine that no longer answers; it is restarted."""
        if self._child is not None:
            self._child.kill()

    def stop(self) -> None:
        """Let the engine end, and kill it if it does not end by itself."""
        self._stopping.set()
        child = self._child
        if child is not None and child.stdin is not None:
            child.stdin.close()
            try:
                child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)

    def _keep_alive(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            self.since = started = time.monotonic()
            try:
                self._live_once()
            except OSError as error:  # the machine is short of memory or processes
                log.error("the engine cannot be started: %s", error)
            if self._stopping.is_set():
                return
            self.since = time.monotonic()
            lifetime = self.since - started
            pause = FIRST_PAUSE if lifetime > STABLE_AFTER else min(2 * pause, LONGEST_PAUSE)
            log.error("the engine ended after %.0f s; the next starts in %.1f s", lifetime, pause)
            self._stopping.wait(pause)

    def _live_once(self) -> None:
        # In a session of its own: Ctrl-C in a terminal must reach only the node, which drains before the engine ends.
        child = subprocess.Popen(self._command, stdin=subprocess.PIPE, env=self._environment, start_new_session=True)
        self._child = child
        if self._answers(child):
            self._ready.set()
            self._on_change()
        child.wait()
        if child.stdin is not None:
            child.stdin.close()
        self._ready.clear()
        self._on_change()

    def _answers(self, child: subprocess.Popen[bytes]) -> bool:
        while child.poll() is None and not self._stopping.is_set():
            try:
                self.client.stats()
            except EngineDied:
                time.sleep(0.1)
            except EngineError as error:
                log.error("the engine is up, but cannot report its state: %s", error)
                time.sleep(1.0)
            else:
                log.info("the engine answers (process %s)", child.pid)
                return True
        return False
