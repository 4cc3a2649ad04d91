"""How many slots and rows a model has and how wide its steps are, also when the device's memory runs out.

It decides, the batcher gives out what it decided, the cache holds memory for it. No tensor is touched here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from whisper_fleet.shared.errors import EngineOutOfMemory
from whisper_fleet.workers.engine.batch.batcher import Batcher, DecodeStep, Step
from whisper_fleet.workers.engine.batch.window import Window

log = logging.getLogger(__name__)

#: Seconds without a shortage after which twice as much is tried.
RECOVERY_SECONDS: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What a model may use at once."""

    width: int  # windows encoded or prompted in one step
    slots: int


class Cache(Protocol):
    """The memory behind slots and rows."""

    def resize(self, slots: int, rows: int) -> None:
        """Hold memory for `slots` and `rows`; EngineOutOfMemory leaves the cache as it was."""


def reduce(allowed: Allowance, *, decoding: bool, windows: int, live: int) -> Allowance | None:
    """Return what is allowed after a step of `windows` ran out of memory; None: one window is too much even alone.

    `live` windows were in the batch besides them. A step becomes narrower first. What a single window lacks, others
    must leave. The last to go is the memory behind slots that no window uses.
    """
    if windows > 1:
        half = windows // 2
        return _with_slots(allowed, half) if decoding else replace(allowed, width=half)
    if live:
        return _with_slots(allowed, max(live // 2, 1))
    return _with_slots(allowed, 1) if allowed.slots > 1 else None


def restore(allowed: Allowance, wanted: Allowance) -> Allowance:
    """Return twice of what is allowed, up to what is wanted."""
    return Allowance(width=min(2 * allowed.width, wanted.width), slots=min(2 * allowed.slots, wanted.slots))


def _with_slots(allowed: Allowance, slots: int) -> Allowance:
    return replace(allowed, slots=min(slots, allowed.slots))


class Capacity:
    """The one owner of a model's limits: what was asked for, and what memory allows of it."""

    def __init__(self, name: str, batch: Batcher, cache: Cache, *, width: int, make_room: Callable[[], bool]) -> None:
        """`make_room` unloads another model and returns whether there was one to unload."""
        self._name, self._batch, self._cache, self._make_room = name, batch, cache, make_room
        self._wanted = self._allowed = Allowance(width=width, slots=1)
        self._short_since = 0.0  # when memory ran out last

    def resize(self, slots: int) -> None:
        """Hold memory for `slots` slots, or for as many as there is memory for."""
        self._wanted = replace(self._wanted, slots=slots)
        before = self._allowed.slots
        while True:
            try:
                self._allow(replace(self._allowed, slots=slots))
                return
            except EngineOutOfMemory:
                if not self._make_room():
                    slots = max(slots // 2, before)
                    self._short_since = time.monotonic()
                    log.warning("no memory for more slots of %s: going on with %d", self._name, slots)

    def make_rows_for(self, window: Window) -> None:
        """Hold memory for a window that needs more rows than there are; EngineOutOfMemory: the window is abandoned."""
        rows = window.plan.rows if window.plan else 1
        if rows <= self._batch.rows.limit:
            return
        self._set_limits(self._allowed, rows)
        while True:
            try:
                self.fit_cache()
                return
            except EngineOutOfMemory:
                if not self._make_room():
                    self._batch.abandon(window)
                    self._allow(self._allowed)
                    raise

    def shed(self, step: Step, windows: int) -> bool:
        """Use less after a step ran out of memory, whose `windows` wait again; False: one is too much even alone."""
        self._short_since = time.monotonic()
        if self._make_room():
            self._allow(self._allowed)  # the windows that wait again may need more rows than there are by now
            return True
        decoding, live = isinstance(step, DecodeStep), len(self._batch.live)
        allowed = reduce(self._allowed, decoding=decoding, windows=windows, live=live)
        if allowed is None:
            return False
        log.warning("out of memory in a step of %d windows: going on with %s", windows, allowed)
        self._allow(allowed)
        return True

    def recover(self) -> None:
        """Try twice as much if there has been memory for a while."""
        if self._allowed == self._wanted or time.monotonic() <= self._short_since + RECOVERY_SECONDS:
            return
        self._short_since = time.monotonic()
        before = self._allowed
        try:
            self._allow(restore(before, self._wanted))
        except EngineOutOfMemory:
            self._allow(before)

    def fit_cache(self) -> None:
        """Let the cache hold what may be given out and what is still out, and no more."""
        self._cache.resize(max(self._batch.slots.extent, 1), max(self._batch.rows.extent, 1))

    def _allow(self, allowed: Allowance) -> None:
        """Use so much at once; EngineOutOfMemory leaves the cache as it was."""
        self._set_limits(allowed, max(allowed.slots, self._widest()))
        self.fit_cache()
        self._allowed = allowed

    def _set_limits(self, allowed: Allowance, rows: int) -> None:
        self._batch.set_limits(width=allowed.width, slots=allowed.slots, rows=rows)

    def _widest(self) -> int:
        """Return the rows that the widest of the waiting windows needs, now or once its language is known."""
        return max((window.plan.rows for window in self._batch.waiting if window.plan), default=1)
