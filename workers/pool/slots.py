"""The slots of a node: threads whose number can change while they work. Knows nothing of Celery."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar

from whisper_fleet.shared.errors import AttemptError, PoolError, SegmentStopped

logger = logging.getLogger(__name__)

_numbers = itertools.count(1)


class Slot:
    """A slot while it runs one task; its number is not used again, so that a late stop hits no successor."""

    def __init__(self, body: Callable[[Slot], None] | None = None) -> None:
        self.number = next(_numbers)
        self.body = body
        self._why: AttemptError | None = None
        self._settled = False
        self._lock = threading.Lock()

    def stop(self, why: AttemptError) -> None:
        """Make the next `check` raise `why`; the first reason stays."""
        self._why = self._why or why

    def check(self) -> None:
        """Raise what the task was stopped with, if it was; the task calls it at every window."""
        if self._why is not None:
            raise self._why

    @property
    def why(self) -> AttemptError | None:
        """What the task was stopped with, if it was."""
        return self._why

    def settle(self) -> bool:
        """True for the first caller only: either the task reports its end, or its time limit does."""
        with self._lock:
            first, self._settled = not self._settled, True
            return first

    def terminate(self, signal: int) -> None:
        """Celery's word for a revoke of a task that may not have been accepted yet."""
        self.stop(revoked())


def revoked() -> AttemptError:
    """Why a slot stops whose task was revoked."""
    return SegmentStopped(reason="its task was revoked")


_current: ContextVar[Slot] = ContextVar("slot")


def current_slot() -> Slot:
    """The slot that the calling thread works in; outside of a pool one that nobody stops."""
    return _current.get(None) or Slot()


class Slots:
    """Runs bodies in at most `limit` threads; whatever is submitted starts, in order, exactly once."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        # Reentrant, because Celery stops the pool from within signal handlers of the same thread.
        self._lock = threading.RLock()
        # Apart, so that of hundreds of threads without work one task wakes one.
        self._given, self._ended = threading.Condition(self._lock), threading.Condition(self._lock)
        self._waiting: deque[Slot] = deque()
        self._running: dict[int, Slot] = {}
        self._threads = 0
        self._closing: AttemptError | None = None
        self._grace_ends = float("inf")

    @property
    def busy(self) -> int:
        """How many slots run a task now."""
        return len(self._running)

    @property
    def threads(self) -> int:
        """How many threads there are: started when first needed, ended after a shrink."""
        return self._threads

    def submit(self, body: Callable[[Slot], None]) -> Slot:
        """Run `body` as soon as a slot is free."""
        slot = Slot(body)
        with self._lock:
            if self._closing is not None:
                slot.stop(self._closing)
            self._waiting.append(slot)
            self._staff()
            self._given.notify()
        return slot

    def grow(self, n: int) -> None:
        """Add `n` slots at once."""
        with self._lock:
            if n < 1:
                raise PoolError(slots=self.limit, change=f"{n} larger")
            self.limit += n
            self._staff()

    def shrink(self, n: int) -> None:
        """Take `n` slots away: free ones now, busy ones as their tasks end."""
        with self._lock:
            if n < 1 or n >= self.limit:
                raise PoolError(slots=self.limit, change=f"{n} smaller")
            self.limit -= n
            self._given.notify_all()

    def stop(self, number: int, why: AttemptError) -> None:
        """Stop the task in slot `number` at its next check; no effect when it has ended."""
        with self._lock:
            slot = self._running.get(number)
        if slot is not None:
            slot.stop(why)

    def drain(self, why: AttemptError, grace: float, patience: float) -> bool:
        """End everything; True when all of it has ended.

        What has not started is stopped with `why` at once, what runs may go on for `grace` seconds and is
        stopped then. After another `patience` seconds the threads are left behind: they are daemons.
        """
        with self._lock:
            self._closing = why
            self._grace_ends = min(self._grace_ends, time.monotonic() + grace)
            for slot in self._waiting:
                slot.stop(why)
            self._staff()
            if self._wait_idle(lambda: self._grace_ends):
                return True
            for slot in self._running.values():
                slot.stop(why)
            patience_ends = time.monotonic() + patience
            return self._wait_idle(lambda: patience_ends)

    def _wait_idle(self, ends: Callable[[], float]) -> bool:
        """Wait in short steps: a signal handler of this very thread may bring the end forward meanwhile."""
        while self._running or self._waiting:
            left = ends() - time.monotonic()
            if left <= 0:
                return False
            self._ended.wait(min(left, 0.5))
        return True

    def _staff(self) -> None:
        """Start the threads that are missing."""
        idle = self._threads - len(self._running)
        room = len(self._waiting) if self._closing is not None else self.limit - self._threads
        for _ in range(min(room, len(self._waiting) - idle)):
            threading.Thread(target=self._work, name=f"slot-thread-{self._threads + 1}", daemon=True).start()
            self._threads += 1  # not before: the system may refuse another thread

    def _work(self) -> None:
        while (slot := self._next()) is not None:
            _current.set(slot)
            try:
                if slot.body is not None:
                    slot.body(slot)
            except BaseException:
                logger.exception("slot %s failed outside of its task", slot.number)
            finally:
                self._release(slot)

    def _next(self) -> Slot | None:
        """The next task for the calling thread; None: there are more threads than slots, it ends."""
        with self._lock:
            while True:
                if self._threads > self.limit and not (self._closing is not None and self._waiting):
                    self._threads -= 1
                    return None
                if self._waiting:
                    slot = self._waiting.popleft()
                    self._running[slot.number] = slot
                    return slot
                self._given.wait()

    def _release(self, slot: Slot) -> None:
        with self._lock:
            del self._running[slot.number]
            self._ended.notify_all()
