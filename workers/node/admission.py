"""Who is in the engine at once: a segment on its last attempt alone, all others together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Seconds between two signs of life of a segment that waits to be let in.
_SIGN = 2.0


def runs_alone(attempt: int, max_attempts: int) -> bool:
    """Whether an attempt has the engine to itself: the last one has, if it is not the first.

    An engine that dies takes an attempt from all that were in it, whoever killed it. So when the last one is
    taken, too, it is the segment's own fault, and its neighbours have long been done, alone like it.
    """
    return 1 < max_attempts <= attempt


class Admission:
    """The door of an engine. Those who want to be alone go first, so that they get to it at all."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._loners = 0  # that wait or are inside

    @contextmanager
    def entered(self, *, alone: bool, while_waiting: Callable[[], None]) -> Iterator[None]:
        """Inside as soon as it may be; `while_waiting` is called every two seconds and may raise to give up."""
        with self._counted(alone):
            while not self._let_in(alone):
                while_waiting()
            try:
                yield
            finally:
                with self._changed:
                    self._inside -= 1
                    self._changed.notify_all()

    @contextmanager
    def _counted(self, alone: bool) -> Iterator[None]:
        with self._changed:
            self._loners += alone
        try:
            yield
        finally:
            with self._changed:
                self._loners -= alone
                self._changed.notify_all()

    def _let_in(self, alone: bool) -> bool:
        with self._changed:
            let_in = self._changed.wait_for(lambda: not (self._inside if alone else self._loners), _SIGN)
            self._inside += let_in
            return let_in
