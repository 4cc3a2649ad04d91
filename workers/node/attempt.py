"""One attempt at a segment, from its start in the ledger to its end, whichever way it ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

from whisper_fleet.shared.connect import Outage
from whisper_fleet.shared.display.log_fields import add_log_fields, request_fields
from whisper_fleet.shared.display.text import file_name
from whisper_fleet.shared.errors import (
    AttemptError,
    EngineDied,
    EngineDown,
    EngineOutOfMemory,
    FeederDied,
    SegmentStopped,
)
from whisper_fleet.shared.ledger.actions import SUPERSEDED
from whisper_fleet.shared.ledger.text_so_far import MOST_TEXT
from whisper_fleet.shared.wire import SegmentMessage, SegmentResult, SegmentWork
from whisper_fleet.workers.node.outcomes import Action, JobRevoked, SegmentRevoked, outcome_of
from whisper_fleet.workers.pool.slots import Slot

log = logging.getLogger(__name__)


#: Seconds between two progress reports of a segment; a window that takes longer is still reported when it ends.
REPORT_INTERVAL = 0.5
#: Seconds that a slot waits after the engine had no memory, so that the pool can shrink before the next attempt.
OUT_OF_MEMORY_PAUSE = 5.0


#: The transitions of segments wait for Redis, for as long as the node may stay up.
_WAITING = Outage("segments", log)


class AttemptContext(Protocol):
    """What an attempt needs of its node; see NodeContext."""

    @property
    def engine_patience(self) -> float: ...

    def wait_for_engine(self, timeout: float) -> bool: ...

    def is_revoked(self, task_id: str) -> bool: ...

    def start(self, message: SegmentMessage) -> SegmentWork: ...

    def report(self, message: SegmentMessage, seconds_done: float, text: str | None) -> bool: ...

    def set_language(self, message: SegmentMessage, language: str, probability: float) -> str: ...

    def finish(self, message: SegmentMessage, result: SegmentResult) -> None: ...

    def end(self, message: SegmentMessage, action: Action, error: Exception) -> None: ...

    def wake_dispatcher(self) -> None: ...


class Attempt:
    """The steps of one attempt, in the thread of its slot."""

    def __init__(
        self, context: AttemptContext, message: SegmentMessage, slot: Slot, on_progress: Callable[[float], None]
    ) -> None:
        self._context, self._message, self._slot, self._on_progress = context, message, slot, on_progress
        self._reported_at = 0.0
        self._text = ""  # of the segment so far
        self._reported_text = ""
        self._name = str(message)
        #: How the attempt ended: done, or the result of its outcome in the table.
        self.result = "done"

    def start(self) -> SegmentWork:
        """Take the segment from the ledger once the engine answers; raises StaleAttempt or JobCancelled."""
        self._await_engine()
        work = _WAITING.retried(partial(self._context.start, self._message), self._wait)
        self._name = f"{self._message} ({file_name(work.request.file_path)})"
        add_log_fields(**request_fields(work.request))
        log.info("%s starts, attempt %d", self._name, work.attempt)
        return work

    def checkpoint(self, seconds_done: float) -> None:
        """Raise what ends the attempt, if anything does, and report progress; called before every window."""
        self._slot.check()
        if self._context.is_revoked(self._message.job):
            raise JobRevoked(job=self._message.job)
        is_first_text = self._text != "" and self._reported_text == ""
        if is_first_text or time.monotonic() - self._reported_at >= REPORT_INTERVAL:
            self._report(seconds_done)

    def note_text(self, text: str) -> None:
        """Note the text of the segment so far, for the next report."""
        self._text = text[:MOST_TEXT]

    def _report(self, seconds_done: float) -> None:
        text = self._text
        if self._context.report(self._message, seconds_done, text if text != self._reported_text else None):
            self._on_progress(seconds_done)
            self._reported_text = text
        self._reported_at = time.monotonic()

    def finish(self, result: SegmentResult) -> None:
        """Store the result in the ledger, waiting for Redis for as long as the node may stay up."""
        _WAITING.retried(partial(self._context.finish, self._message, result), self._wait)
        log.info("%s is done", self._name)

    def set_language(self, language: str, probability: float) -> str:
        """Store the language that this segment detected and return the job's, waiting for Redis as `finish` does."""
        step = partial(self._context.set_language, self._message, language, probability)
        return _WAITING.retried(step, self._wait)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Settle the attempt in the ledger if an error ends it; raise the error again only if it is a failure."""
        try:
            yield
        except Exception as error:
            self._settle(self._cause(error))
        finally:
            self._context.wake_dispatcher()

    def _await_engine(self) -> None:
        """An engine that is known to be down must not cost the segment an attempt."""
        deadline = time.monotonic() + self._context.engine_patience
        self._slot.check()
        while not self._context.wait_for_engine(0.5):
            self._slot.check()
            if time.monotonic() > deadline:
                raise EngineDown

    def _cause(self, error: Exception) -> Exception:
        """Return the error that decides the outcome."""
        if isinstance(error, (EngineDied, FeederDied)) and self._slot.stop_reason is not None:
            error = self._slot.stop_reason  # engine or feeder ended because the node is shutting down
        if isinstance(error, SegmentStopped) and self._context.is_revoked(self._message.token):
            error = SegmentRevoked(segment=self._message.segment, job=self._message.job)
        return error

    def _settle(self, error: Exception) -> None:
        outcome = outcome_of(error)
        if isinstance(error, EngineOutOfMemory):
            self._pause(OUT_OF_MEMORY_PAUSE)
        result = outcome.result
        try:
            _WAITING.retried(partial(self._context.end, self._message, outcome.action, error), self._wait)
        except SUPERSEDED as superseded:  # another attempt, or the job's end, came first: nothing is left to settle
            log.info("%s was superseded: %s", self._name, superseded)
            result = result and "dropped"
        except AttemptError as stopped:  # the node shuts down while Redis does not accept the outcome
            log.warning("%s is left to recovery: %s", self._name, stopped)
            result = result and "left to recovery"
        if result is None:
            raise error
        self.result = result
        log.info("%s is %s: %s", self._name, result, error)

    def _wait(self, seconds: float) -> None:
        """Wait for Redis; raise the reason if the slot is stopped."""
        self._slot.check()
        self._pause(seconds)

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._slot.stop_reason is None:
            time.sleep(0.1)
