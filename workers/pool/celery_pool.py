"""SlotPool: a Celery pool of threads that grows and shrinks by remote control without losing a task."""

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

#: Seconds that a stopped task gets to reach its next window before the process leaves without it.
PATIENCE = 5.0


class SlotPool(BasePool):
    """Celery's view of `Slots`: pool size, revoke, time limits, shutdown."""

    body_can_be_buffer = True
    signal_safe = False
    limit: int
    slots: Slots

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.slots = Slots(self.limit)
        self.drain_timeout = load_settings().drain_timeout
        #: Called after every change of size.
        self.on_resize: Callable[[], None] = _nobody

    def grow(self, n: int = 1) -> None:
        """Remote control's `pool_grow`."""
        self.slots.grow(n)
        self._resized()

    def shrink(self, n: int = 1) -> None:
        """Remote control's `pool_shrink`; below one slot PoolError, which the caller gets as an error."""
        self.slots.shrink(n)
        self._resized()

    def _resized(self) -> None:
        self.limit = self.slots.limit
        self.on_resize()

    def on_apply(  # type: ignore[override]  # the stub says None, but Celery keeps what is returned
        self, target: Callable[..., Any], args: Any = None, kwargs: Any = None, **options: Any
    ) -> Slot:
        """Run a task as soon as a slot is free; the returned slot can be terminated before it has one."""
        return self.slots.submit(partial(self._run, partial(apply_target, target, args, kwargs), options))

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Stop a running task at its next window; `pid` is what `_run` told Celery, the slot's number."""
        self.slots.stop(pid, revoked())

    def on_stop(self) -> None:
        """Let running tasks finish; a cold shutdown, or the end of the grace time, hands them back."""
        cold = state.should_terminate not in (None, False)
        self.slots.drain(SlotLost(), grace=0.0 if cold else self.drain_timeout, patience=PATIENCE)

    def on_terminate(self) -> None:
        """The end of a cold shutdown: whatever still runs is handed back."""
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
        """Time limits of the task, else those of the worker's command line; seconds."""
        soft = options.get("soft_timeout") or self.options.get("soft_timeout")
        hard = options.get("timeout") or self.options.get("timeout")
        report = options.get("timeout_callback") or _nobody
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
        info = super()._get_info()  # type: ignore[misc]  # missing in the stubs
        return {**info, "busy": self.slots.busy, "threads": self.slots.threads}


def _nobody(*_: object) -> None:
    """Whom to tell when nobody asked to be told."""


def _unless_settled(slot: Slot, callback: Callable[[Any], None]) -> Callable[[Any], None]:
    """After a hard time limit the task has failed for Celery: a late result must not be reported too."""
    return lambda result: callback(result) if slot.settle() else None


def _on_soft_limit(slot: Slot, limit: float, report: Callable[[bool, float], None]) -> None:
    slot.stop(OverTimeLimit(kind="soft", limit=limit))
    report(True, limit)


def _on_hard_limit(slot: Slot, limit: float, report: Callable[[bool, float], None]) -> None:
    slot.stop(OverTimeLimit(kind="hard", limit=limit))
    if slot.settle():
        report(False, limit)
