"""Decides which segments use the engine at the same time: the last attempt at a segment alone, all others together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Seconds between two calls of `while_waiting`.
_WAIT_INTERVAL = 2.0


def runs_alone(attempt: int, max_attempts: int) -> bool:
    """Return whether an attempt gets the engine for itself: the last one does, unless it is also the first.

    An engine that dies costs every segment in it an attempt, whichever of them caused it. A segment whose last
    attempt fails too is therefore the cause itself: by then the others have succeeded, alone like it.
    """
    return 1 < max_attempts <= attempt


class Admission:
    """Admits segments to an engine. Segments that must be alone are admitted first, so that they get in at all."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._admitted = 0
        self._exclusive = 0  # segments that must be alone, waiting or admitted

    @contextmanager
    def entered(self, *, alone: bool, while_waiting: Callable[[], None]) -> Iterator[None]:
        """Wait for admission, and give it up at the end; `while_waiting` is called every two seconds and may raise."""
        with self._counted(alone):
            while not self._admit(alone):
                while_waiting()
            try:
                yield
            finally:
                with self._changed:
                    self._admitted -= 1
                    self._changed.notify_all()

    @contextmanager
    def _counted(self, alone: bool) -> Iterator[None]:
        with self._changed:
            self._exclusive += alone
        try:
            yield
        finally:
            with self._changed:
                self._exclusive -= alone
                self._changed.notify_all()

    def _admit(self, alone: bool) -> bool:
        with self._changed:
            is_admitted = self._changed.wait_for(
                lambda: not (self._admitted if alone else self._exclusive), _WAIT_INTERVAL
            )
            self._admitted += is_admitted
            return is_admitted
