"""A Celery pool of threads that remote control can grow and shrink without losing a task."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from celery.concurrency.base import BasePool, apply_target
from celery.worker import state

from whisper_fleet.shared.errors import OverTimeLimit, SlotLost
from whisper_fleet.shared.settings import load_settings
from whisper_fleet.workers.pool.slots import Slot, Slots, revoked

#: Seconds in which a stopped task must reach its next window; after that, the process exits without it.
PATIENCE = 5.0


class SlotPool(BasePool):
    """The Celery pool on top of `Slots`: pool size, revoke, time limits, shutdown."""

    body_can_be_buffer = True
    signal_safe = False
    limit: int
    slots: Slots

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.slots = Slots(self.limit)
        self.drain_timeout = load_settings().drain_timeout
        #: Called after every change of size.
        self.on_resize: Callable[[], None] = _ignore

    def grow(self, n: int = 1) -> None:
        """Add `n` slots, for remote control's `pool_grow`; PoolError if `n` is below 1."""
        self.slots.grow(n)
        self._resized()

    def shrink(self, n: int = 1) -> None:
        """Remove `n` slots, for remote control's `pool_shrink`; its caller receives a PoolError if none is left."""
        self.slots.shrink(n)
        self._resized()

    def _resized(self) -> None:
        self.limit = self.slots.limit
        self.on_resize()

    def on_apply(  # type: ignore[override]  # the stub declares None, but Celery keeps the result
        self, target: Callable[..., Any], args: Any = None, kwargs: Any = None, **options: Any
    ) -> Slot:
        """Run a task as soon as a slot is free; the returned slot can be terminated even before that."""
        return self.slots.submit(partial(self._run, partial(apply_target, target, args, kwargs), options))

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Stop a running task at its next window; `pid` is the number of its slot, which `_run` reports to Celery."""
        self.slots.stop(pid, revoked())

    def on_stop(self) -> None:
        """Let running tasks finish; after the grace time, or at once in a cold shutdown, stop them with SlotLost."""
        cold = state.should_terminate not in (None, False)
        self.slots.drain(SlotLost(), grace=0.0 if cold else self.drain_timeout, patience=PATIENCE)

    def on_terminate(self) -> None:
        """Stop the tasks that still run with SlotLost, at the end of a cold shutdown."""
        self.slots.drain(SlotLost(), grace=0.0, patience=PATIENCE)

    def _run(self, apply: Callable[..., None], options: dict[str, Any], slot: Slot) -> None:
        timers = self._start_timers(slot, options)
        callback = _unless_settled(slot, options["callback"])
        try:
            apply(callback=callback, accept_callback=options["accept_callback"], pid=slot.number)
        finally:
            for timer in timers:
                timer.cancel()

    def _start_timers(self, slot: Slot, options: dict[str, Any]) -> list[threading.Timer]:
        """Start timers for the time limits, in seconds, of the task or else of the worker's command line."""
        soft = options.get("soft_timeout") or self.options.get("soft_timeout")
        hard = options.get("timeout") or self.options.get("timeout")
        report = options.get("timeout_callback") or _ignore
        timers = []
        if soft:
            timers.append(threading.Timer(soft, _on_soft_limit, (slot, soft, report)))
        if hard:
            timers.append(threading.Timer(hard, _on_hard_limit, (slot, hard, report)))
        for timer in timers:
            timer.daemon = True
            timer.start()
        return timers

    def _get_info(self) -> dict[str, Any]:
        info = super()._get_info()  # type: ignore[misc]  # the stubs lack it
        return {**info, "busy": self.slots.busy, "threads": self.slots.threads}


def _ignore(*_: object) -> None:
    """Do nothing, as the default callback."""


def _unless_settled(slot: Slot, callback: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a callback that reports the result only if the task is not settled yet.

    After a hard time limit, the task has failed for Celery, so a late result must not be reported.
    """
    return lambda result: callback(result) if slot.settle() else None


def _on_soft_limit(slot: Slot, limit: float, report: Callable[[bool, float], None]) -> None:
    slot.stop(OverTimeLimit(kind="soft", limit=limit))
    report(True, limit)


def _on_hard_limit(slot: Slot, limit: float, report: Callable[[bool, float], None]) -> None:
    slot.stop(OverTimeLimit(kind="hard", limit=limit))
    if slot.settle():
        report(False, limit)
