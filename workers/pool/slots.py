"""The slots of a node: threads whose number can change while tasks run. This module does not know Celery."""

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
    """A slot while it runs one task. Its number is never reused, so that a late stop cannot reach the next task."""

    def __init__(self, body: Callable[[Slot], None] | None = None) -> None:
        self.number = next(_numbers)
        self.body = body
        self._stop_reason: AttemptError | None = None
        self._settled = False
        self._lock = threading.Lock()

    def stop(self, reason: AttemptError) -> None:
        """Make the next `check` raise `reason`; if the slot was stopped before, the first reason stays."""
        self._stop_reason = self._stop_reason or reason

    def check(self) -> None:
        """Raise the reason if the task was stopped; the task calls this at every window."""
        if self._stop_reason is not None:
            raise self._stop_reason

    @property
    def stop_reason(self) -> AttemptError | None:
        """The reason that the task was stopped with, or None."""
        return self._stop_reason

    def settle(self) -> bool:
        """Return True to the first caller only: either the task or its time limit reports the end."""
        with self._lock:
            first, self._settled = not self._settled, True
            return first

    def terminate(self, signal: int) -> None:
        """Stop the task because it was revoked; Celery calls this, perhaps before the task is accepted."""
        self.stop(revoked())


def revoked() -> AttemptError:
    """Return the reason to stop a slot whose task was revoked."""
    return SegmentStopped(reason="its task was revoked")


_current: ContextVar[Slot] = ContextVar("slot")


def current_slot() -> Slot:
    """Return the slot of the calling thread; outside of a pool, a new slot that is never stopped."""
    return _current.get(None) or Slot()


class Slots:
    """Runs submitted bodies in at most `limit` threads. Every body starts exactly once, in order of submission."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        # Reentrant, because Celery stops the pool in signal handlers, which run in a thread that may hold the lock.
        self._lock = threading.RLock()
        # Two conditions, so that a new task wakes one of hundreds of idle threads.
        self._submitted, self._ended = threading.Condition(self._lock), threading.Condition(self._lock)
        self._waiting: deque[Slot] = deque()
        self._running: dict[int, Slot] = {}
        self._threads = 0
        self._closing: AttemptError | None = None
        self._grace_ends = float("inf")

    @property
    def busy(self) -> int:
        """The number of slots that run a task now."""
        return len(self._running)

    @property
    def threads(self) -> int:
        """The number of threads, which start when they are first needed and end after a shrink."""
        return self._threads

    def submit(self, body: Callable[[Slot], None]) -> Slot:
        """Run `body` as soon as a slot is free; after `drain` began, in a slot that is stopped already."""
        slot = Slot(body)
        with self._lock:
            if self._closing is not None:
                slot.stop(self._closing)
            self._waiting.append(slot)
            self._start_threads()
            self._submitted.notify()
        return slot

    def grow(self, n: int) -> None:
        """Add `n` slots; PoolError if `n` is below 1."""
        with self._lock:
            if n < 1:
                raise PoolError(slots=self.limit, change=f"{n} larger")
            self.limit += n
            self._start_threads()

    def shrink(self, n: int) -> None:
        """Remove `n` slots, free ones now and busy ones when their tasks end; PoolError if none would stay."""
        with self._lock:
            if n < 1 or n >= self.limit:
                raise PoolError(slots=self.limit, change=f"{n} smaller")
            self.limit -= n
            self._submitted.notify_all()

    def stop(self, number: int, reason: AttemptError) -> None:
        """Stop the task in slot `number` at its next check; this has no effect if the task has ended."""
        with self._lock:
            slot = self._running.get(number)
        if slot is not None:
            slot.stop(reason)

    def drain(self, reason: AttemptError, grace: float, patience: float) -> bool:
        """End all tasks, and return whether all have ended.

        Tasks that have not started are stopped with `reason` at once. Running tasks continue for `grace` seconds, then
        they are stopped. After another `patience` seconds, this returns; the remaining threads are daemons.
        """
        with self._lock:
            self._closing = reason
            self._grace_ends = min(self._grace_ends, time.monotonic() + grace)
            for slot in self._waiting:
                slot.stop(reason)
            self._start_threads()
            if self._wait_idle(lambda: self._grace_ends):
                return True
            for slot in self._running.values():
                slot.stop(reason)
            patience_ends = time.monotonic() + patience
            return self._wait_idle(lambda: patience_ends)

    def _wait_idle(self, ends: Callable[[], float]) -> bool:
        """Wait until no task is left or the time `ends()` has come, and return whether no task is left.

        It waits in short steps, because a signal handler of this thread may bring the end forward.
        """
        while self._running or self._waiting:
            left = ends() - time.monotonic()
            if left <= 0:
                return False
            self._ended.wait(min(left, 0.5))
        return True

    def _start_threads(self) -> None:
        """Start as many threads as waiting tasks need and the limit allows; when draining, one per waiting task."""
        idle = self._threads - len(self._running)
        room = len(self._waiting) if self._closing is not None else self.limit - self._threads
        for _ in range(min(room, len(self._waiting) - idle)):
            threading.Thread(target=self._work, name=f"slot-thread-{self._threads + 1}", daemon=True).start()
            self._threads += 1  # only now, because the system may refuse another thread

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
        """Return the next task of the calling thread, or None if the thread must end because there are too many."""
        with self._lock:
            while True:
                if self._threads > self.limit and not (self._closing is not None and self._waiting):
                    self._threads -= 1
                    return None
                if self._waiting:
                    slot = self._waiting.popleft()
                    self._running[slot.number] = slot
                    return slot
                self._submitted.wait()

    def _release(self, slot: Slot) -> None:
        with self._lock:
            del self._running[slot.number]
            self._ended.notify_all()
