"""What attempts need of their node: the engine's state, revoked tasks, and the ledger."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from celery.worker import state

from whisper_fleet.shared.connect import Outage
from whisper_fleet.shared.errors import ModelUnavailable
from whisper_fleet.shared.ledger.progress import show
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobProgress, SegmentMessage, SegmentResult, SegmentWork
from whisper_fleet.workers.node.connections import Connections
from whisper_fleet.workers.node.outcomes import Action

_log = logging.getLogger(__name__)

_PROGRESS = Outage("progress reports", _log)
#: Seconds without reports after Redis did not accept one.
_PAUSE = 2.0


class NodeContext:
    """The AttemptContext of a node; thread-safe."""

    def __init__(
        self, gpu: str, settings: Settings, connections: Connections, wait_for_engine: Callable[[float], bool]
    ) -> None:
        self._wait_for_engine = wait_for_engine
        self._gpu = gpu
        self._host = settings.host
        self._settings = settings
        self._connections = connections
        self._ledger = connections.retrying.ledger
        self._actions = connections.retrying.actions
        self._report_again_at = 0.0  # monotonic clock; later than now while Redis does not accept reports

    @property
    def engine_patience(self) -> float:
        """The seconds to wait for an engine that is down before the segment goes to another GPU."""
        return self._settings.assign_timeout

    def wait_for_engine(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; return whether the engine answers."""
        return self._wait_for_engine(timeout)

    def is_revoked(self, task_id: str) -> bool:
        """Return whether a client, or Flower, revoked this task; a job's id is the id of its task."""
        return task_id in state.revoked

    def start(self, message: SegmentMessage) -> SegmentWork:
        """Start the segment in the ledger; raises StaleAttempt, JobCancelled or JobNotFound."""
        return self._ledger.start(message, self._gpu, self._settings.lease, self._ledger.now())

    def report(self, message: SegmentMessage, seconds_done: float, text: str | None) -> bool:
        """Renew the lease, store the text so far if it is new, and show progress.

        Return False if Redis is unreachable, which ends no attempt.
        Raises StaleAttempt, JobCancelled or JobNotFound if the segment is no longer wanted.
        """
        if time.monotonic() < self._report_again_at:
            return False
        with _PROGRESS.ignored():
            ledger = self._connections.fail_fast.ledger
            progress = ledger.progress(message, seconds_done, self._settings.lease, ledger.now(), text=text)
            self._show(message.job, progress)
            return True
        self._report_again_at = time.monotonic() + _PAUSE
        return False

    def set_language(self, message: SegmentMessage, language: str, probability: float) -> str:
        """Store the language of the job and return it: an earlier attempt's counts. May be repeated.

        Raises StaleAttempt, JobCancelled, JobNotFound, and Redis errors.
        """
        stored = self._ledger.set_language(message, language, probability, self._ledger.now())
        self._connections.wake_dispatcher()  # for the segments that were held for it
        return stored

    def finish(self, message: SegmentMessage, result: SegmentResult) -> None:
        """Store the result; may be repeated. Raises StaleAttempt, JobCancelled, JobNotFound, and Redis errors."""
        finish = self._actions.finish(message, result, self._ledger.now())
        with _PROGRESS.ignored():
            self._show(message.job, finish.progress)

    def end(self, message: SegmentMessage, action: Action, error: Exception) -> None:
        """Settle an attempt that an error ended; raises StaleAttempt, JobCancelled or JobNotFound if it was settled."""
        now = self._ledger.now()
        match action:
            case Action.FAIL:
                self._actions.fail(message.job, type(error).__name__, self._describe(error), now)
                self._actions.free_slot(message, now)
            case Action.CANCEL:
                self._actions.cancel(message.job, now)
                self._actions.free_slot(message, now)
            case Action.RETURN:
                self._actions.return_to_queue(message, f"{type(error).__name__}: {error}", now)
            case Action.REASSIGN:
                self._actions.reassign(message, str(error), now)
            case Action.NONE:
                pass

    def wake_dispatcher(self) -> None:
        """Have the dispatcher look for work for the slot that is now free."""
        self._connections.wake_dispatcher()

    def _describe(self, error: Exception) -> str:
        """Return the message for the client; the engine, which reports missing models, does not know its host."""
        return f"{error} ({self._host})" if isinstance(error, ModelUnavailable) else str(error)

    def _show(self, job: str, progress: JobProgress | None) -> None:
        if progress is not None:
            show(self._connections.app, self._connections.fail_fast.redis, job, progress)
