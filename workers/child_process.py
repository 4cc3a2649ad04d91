"""Keeps one child process running: starts it, waits until it answers, and restarts it when it ends.

Callers: the node, for its engine and for its feeders. It knows a command line and how to find out whether the child
answers. A child that cannot be started is tried again; nothing is raised.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import psutil

log = logging.getLogger(__name__)

#: Seconds between the end of a child and its restart; doubled as long as children end soon after their start.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
#: Seconds after which the end of a child no longer counts as a failed start.
STABLE_AFTER = 60.0
#: Seconds that a child gets to end by itself.
PATIENCE = 5.0


class ChildProcess:
    """A child process that ends with this process, which holds its standard input open.

    A thread starts and restarts it, and alone assigns `_child` and `since`; other threads only read them.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        answers: Callable[[], bool],
        on_change: Callable[[], None],
    ) -> None:
        self.name = name
        self._command = list(command)
        self._environment = {**os.environ, **environment}
        self._answers = answers
        self._on_change = on_change
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        #: When the child was last started, or ended; on the monotonic clock.
        self.since = time.monotonic()
        self._thread = threading.Thread(target=self._keep_alive, name=name, daemon=True)

    def start(self) -> None:
        """Start the child and return at once; `ready` is set when it answers."""
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether the child answers."""
        return self._ready.is_set()

    def wait_ready(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the child; return whether it answers."""
        return self._ready.wait(timeout)

    @property
    def cpu_seconds(self) -> float | None:
        """The processor time that the running child has used; None if it has ended."""
        child = self._child
        try:
            times = psutil.Process(child.pid).cpu_times() if child is not None else None
        except psutil.Error:
            return None
        return times.user + times.system if times is not None else None

    def send(self, line: bytes) -> None:
        """Write a line to the child's standard input; one that has ended reads none."""
        child = self._child
        if child is not None and child.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # it has ended, or its input is closed
                child.stdin.write(line)
                child.stdin.flush()

    def kill(self) -> None:
        """End a child that no longer answers; it is restarted."""
        if self._child is not None:
            self._child.kill()

    def stop(self) -> None:
        """Let the child end, and kill it if it does not end by itself."""
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
                log.error("the %s cannot be started: %s", self.name, error)
            if self._stopping.is_set():
                return
            self.since = time.monotonic()
            lifetime = self.since - started
            pause = FIRST_PAUSE if lifetime > STABLE_AFTER else min(2 * pause, LONGEST_PAUSE)
            log.error("the %s ended after %.0f s; the next starts in %.1f s", self.name, lifetime, pause)
            self._stopping.wait(pause)

    def _live_once(self) -> None:
        # In a session of its own: Ctrl-C in a terminal must reach only the node, which drains before the child ends.
        child = subprocess.Popen(self._command, stdin=subprocess.PIPE, env=self._environment, start_new_session=True)
        self._child = child
        if self._await_answer(child):
            self._ready.set()
            self._on_change()
        child.wait()
        if child.stdin is not None:
            child.stdin.close()
        self._ready.clear()
        self._on_change()

    def _await_answer(self, child: subprocess.Popen[bytes]) -> bool:
        while child.poll() is None and not self._stopping.is_set():
            if self._answers():
                log.info("the %s answers (process %s)", self.name, child.pid)
                return True
            time.sleep(0.1)
        return False
