"""One attempt at a segment: its steps, and the ways in which it can end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NoReturn, TypeVar

import numpy as np
from celery.worker import state
from kombu.exceptions import OperationalError
from numpy.typing import NDArray
from redis.exceptions import RedisError

from whisper_fleet.shared.audio.segments import read_segment
from whisper_fleet.shared.errors import (
    EngineDied,
    EngineDown,
    EngineOutOfMemory,
    EngineRequestInvalid,
    JobCancelled,
    JobNotFound,
    ModelUnavailable,
    RequestError,
    SegmentStopped,
    SlotLost,
    StaleAttempt,
)
from whisper_fleet.shared.ledger.progress import show
from whisper_fleet.shared.transcript import segments_from_whisper
from whisper_fleet.shared.wire import JobProgress, SegmentMessage, SegmentResult, SegmentWork, TranscribeRequest
from whisper_fleet.workers.link.client import EngineSession
from whisper_fleet.workers.node.admission import runs_alone
from whisper_fleet.workers.node.node import Node
from whisper_fleet.workers.pool.slots import Slot
from whisper_fleet.workers.whisper import proxy

log = logging.getLogger(__name__)

T = TypeVar("T")

#: What the client must mend: no attempt will go better.
NOT_RETRYABLE = (RequestError, EngineRequestInvalid, ModelUnavailable)

#: Seconds between two reports of a segment; a window that takes longer is reported all the same.
REPORT_INTERVAL = 0.5
#: Seconds that a slot waits when the engine had no room: the pool can shrink before the next attempt.
OUT_OF_MEMORY_PAUSE = 5.0


class Attempt:
    """The steps of one attempt, in the thread of its slot."""

    def __init__(self, node: Node, message: SegmentMessage, slot: Slot, tell: Callable[[float], None]) -> None:
        self._node, self._message, self._slot, self._tell = node, message, slot, tell
        self._lease = node.settings.lease
        self._reported = 0.0
        #: How the attempt ended, for people: done, dropped, handed over or cancelled.
        self.outcome = "done"

    def start(self) -> SegmentWork:
        """Take the segment from the ledger, once the engine answers; raises StaleAttempt or JobCancelled."""
        self._await_engine()
        return self._node.ledger.start(self._message, self._node.gpu, self._lease, time.time())

    def read(self, work: SegmentWork) -> tuple[NDArray[np.float32], float]:
        """The segment's audio, and the seconds that it took to decode."""
        began = time.monotonic()
        audio = read_segment(work.request.file_path, work.plan, self._node.settings)
        self._checkpoint(0.0)
        return audio, time.monotonic() - began

    def transcribe(self, work: SegmentWork, audio: NDArray[np.float32], decode_seconds: float) -> SegmentResult:
        """Whisper's own `transcribe()` of the segment, with the engine for a model."""
        request = work.request
        began = time.monotonic()
        alone = runs_alone(work.attempt, self._node.settings.max_attempts)
        with self._let_in(alone), self._session(request, alone) as session:
            told = proxy.transcribe(
                session,
                audio,
                self._checkpoint,
                **request.options,
                language=request.language,
                task=request.task,
                word_timestamps=request.word_timestamps,
            )
        return SegmentResult(
            text=told["text"],
            language=told["language"],
            segments=segments_from_whisper(told["segments"]),
            gpu=self._node.gpu,
            decode_seconds=decode_seconds,
            transcribe_seconds=time.monotonic() - began,
        )

    def _let_in(self, alone: bool) -> AbstractContextManager[None]:
        return self._node.company.entered(alone=alone, while_waiting=lambda: self._checkpoint(0.0))

    def _session(self, request: TranscribeRequest, alone: bool) -> EngineSession:
        """EngineDown when the engine was gone before it saw anything of this segment."""
        client = self._node.engine.client
        try:
            if alone:
                client.stats()  # whoever was in here before may have taken the engine along this very moment
        except EngineDied as died:
            raise EngineDown from died
        try:
            return client.session(request.model_name, request.precision)
        except EngineDied as died:
            if isinstance(died.__cause__, (ConnectionRefusedError, FileNotFoundError)):
                raise EngineDown from died
            raise

    def finish(self, result: SegmentResult) -> None:
        """Hand the result in; the job's last segment calls for its assembly."""
        done = self._insist(lambda: self._node.ledger.finish(self._message, result, time.time()))
        try:
            self._show(done.progress)
        except (RedisError, OSError) as error:
            log.warning("the end of %s is not shown: %s", self._message, error)
        if done.last:
            self._publish_assemble()

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Whatever ends the attempt early, the ledger learns of it; Celery, and so Flower, of failures."""
        try:
            yield
        except Exception as error:
            self._end(error)
        finally:
            self._node.poke()

    def _end(self, error: Exception) -> None:
        if isinstance(error, EngineDied) and self._slot.why is not None:
            error = self._slot.why  # it was our own leaving that took the engine away
        match error:
            case StaleAttempt() | JobCancelled() | JobNotFound():
                self._ended("dropped", error)
            case SlotLost() | EngineDown():
                self._hand_over(error)
            case SegmentStopped():
                self._stopped(error)
            case _ if isinstance(error, NOT_RETRYABLE):
                self._fail(error)
            case _:
                self._give_back(error)

    def _await_engine(self) -> None:
        """An attempt must not be lost to an engine that is known to be down."""
        deadline = time.monotonic() + self._node.settings.assign_timeout
        self._slot.check()
        while not self._node.engine.wait_ready(0.5):
            self._slot.check()
            if time.monotonic() > deadline:
                raise EngineDown

    def _insist(self, call: Callable[[], T]) -> T:
        """What was computed waits for Redis however long it is away, unless the node must go."""
        while True:
            try:
                return call()
            except (RedisError, OSError) as error:
                log.warning("the result of %s waits for Redis: %s", self._message, error)
                self._slot.check()

    def _checkpoint(self, seconds_done: float) -> None:
        """At every window: was the slot stopped, is the job still wanted, how far are we?"""
        self._slot.check()
        if self._message.job in state.revoked:
            self._cancel()
            raise JobCancelled(job=self._message.job)
        if time.monotonic() - self._reported >= REPORT_INTERVAL:
            self._report(seconds_done)
            self._reported = time.monotonic()

    def _report(self, seconds_done: float) -> None:
        """Renew the lease and show progress; without Redis the work goes on, the result will wait for it."""
        try:
            progress = self._node.fail_fast_ledger.progress(self._message, seconds_done, self._lease, time.time())
            self._show(progress)
            self._tell(seconds_done)
        except (RedisError, OperationalError, OSError) as error:
            log.warning("no progress report of %s: %s", self._message, error)

    def _show(self, progress: JobProgress | None) -> None:
        if progress is not None:
            show(self._node.app, self._node.fail_fast, self._message.job, progress)

    def _stopped(self, why: SegmentStopped) -> None:
        """A revoked segment ends its job, which cannot be whole any more; a cold shutdown does not."""
        if self._message.token in state.revoked:
            self._cancel()
            self._ended("cancelled", why)
        else:
            self._hand_over(why)

    def _cancel(self) -> None:
        if self._node.ledger.cancel(self._message.job, time.time()):
            self._publish_assemble()

    def _hand_over(self, why: Exception) -> None:
        with self._unless_unwanted():
            self._node.ledger.reassign(self._message, time.time(), str(why))
            self._ended("handed over", why)

    def _fail(self, error: Exception) -> NoReturn:
        told = str(error)
        if isinstance(error, ModelUnavailable):  # by an engine, which knows no name of its machine
            told += f" ({self._node.settings.host})"
        if self._node.ledger.fail(self._message.job, type(error).__name__, told, time.time()):
            self._publish_assemble()
        raise error

    def _give_back(self, error: Exception) -> NoReturn:
        """Another attempt may go better; the pool can shrink before it if the engine had no room."""
        if isinstance(error, EngineOutOfMemory):
            self._pause(OUT_OF_MEMORY_PAUSE)
        reason = f"{type(error).__name__}: {error}"
        with self._unless_unwanted():
            if self._node.ledger.return_to_queue(self._message, reason, time.time()).job_failed:
                self._publish_assemble()
        raise error

    def _ended(self, outcome: str, why: Exception) -> None:
        self.outcome = outcome
        log.info("%s %s: %s", outcome, self._message, why)

    @contextmanager
    def _unless_unwanted(self) -> Iterator[None]:
        """Somebody was faster: then there is nothing to return."""
        try:
            yield
        except (StaleAttempt, JobCancelled, JobNotFound) as why:
            self._ended("dropped", why)

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._slot.why is None:
            time.sleep(0.1)

    def _publish_assemble(self) -> None:
        self._node.publish_assemble(self._message.job)
