"""The transitions of the ledger that may have to be announced, each with its announcement.

A job that was transcribed, failed or cancelled needs an `assemble`, which gives the client its result or the reason
why there is none. Whichever call ends the transcription publishes it, so that callers cannot forget to.
"""

from __future__ import annotations

import contextlib
import logging
from datetime import UTC, datetime
from typing import Any

from celery import Celery
from pydantic import ValidationError
from redis.exceptions import RedisError

from whisper_fleet.shared import names, tracing
from whisper_fleet.shared.connect import UNREACHABLE
from whisper_fleet.shared.display.text import file_name
from whisper_fleet.shared.errors import JobCancelled, JobNotFound, StaleAttempt
from whisper_fleet.shared.ledger.continuation import Continuation
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.records import Finish, JobRecord
from whisper_fleet.shared.request.parsing import as_keywords, as_shown
from whisper_fleet.shared.wire import SegmentMessage, SegmentResult

_log = logging.getLogger(__name__)

#: What the ledger raises for an attempt that is no longer wanted: there is nothing to return.
SUPERSEDED = (StaleAttempt, JobCancelled, JobNotFound)


class JobActions:
    """Finishes, fails, cancels and returns work, and publishes `assemble` where a job's transcription ends by it.

    Errors of Redis and the ledger pass through. A message that cannot be published is left to recovery, which
    sends it when it is overdue: the transition itself has happened.
    """

    def __init__(self, ledger: Ledger, app: Celery) -> None:
        self._ledger = ledger
        self._app = app

    def finish(self, message: SegmentMessage, result: SegmentResult, now: float) -> Finish:
        """Keep a segment's result; raises StaleAttempt or JobCancelled if it is no longer wanted."""
        finish = self._ledger.finish(message, result, now)
        if finish.last:
            self.publish_assemble(message.job)
        return finish

    def fail(self, job: str, error_type: str, error: str, now: float) -> bool:
        """Fail a job; return False if it had ended before. Raises JobNotFound."""
        return self._ended(job, self._ledger.fail(job, error_type, error, now))

    def cancel(self, job: str, now: float) -> bool:
        """Cancel a job; return False if it has ended or its text is complete. Raises JobNotFound."""
        return self._ended(job, self._ledger.cancel(job, now))

    def return_to_queue(self, message: SegmentMessage, reason: str, now: float) -> None:
        """Let a segment wait again after a failed attempt; the job fails if it was the last one allowed."""
        self._ended(message.job, self._ledger.return_to_queue(message, reason, now).job_failed)

    def reassign(self, message: SegmentMessage, reason: str, now: float) -> None:
        """Let a segment wait again without counting the attempt."""
        self._ledger.reassign(message, now, reason)

    def free_slot(self, message: SegmentMessage, now: float) -> None:
        """Free the slot of an attempt that ended its job: the ledger refuses the segment, and lets go of the slot."""
        with contextlib.suppress(*SUPERSEDED):
            self.reassign(message, "its job has ended", now)

    def return_lost(self, message: SegmentMessage, reason: str, now: float, *, was_running: bool) -> bool:
        """Let a segment wait again whose node is lost; return False if its attempt had ended before.

        The attempt counts only if the segment was running: then it may be what the node died of.
        """
        try:
            if was_running:
                self.return_to_queue(message, reason, now)
            else:
                self.reassign(message, reason, now)
        except SUPERSEDED:
            return False
        return True

    def publish_assemble(self, job: str) -> None:
        """Send `assemble` under the id that the client holds, with what follows the job for that client."""
        try:
            continuation, shown = self._followers(job)
            options = _send_options(continuation)
            self._app.send_task(names.ASSEMBLE, task_id=job, queue=names.ASSEMBLE_QUEUE, kwargsrepr=shown, **options)
        except (*UNREACHABLE, RedisError, OSError) as error:
            _log.warning("the assembly of job %s is left to recovery: %s", job, error)

    def publish_transcribe(self, record: JobRecord, *, is_its_turn: bool = False) -> None:
        """Send `transcribe` again, as its client did. A job that has started does not expire any more.

        `is_its_turn`: intake put the job off and has chosen it now, so it does not wait behind newer requests.
        """
        options = {
            "headers": tracing.headers_for(record.trace),
            **_send_options(record.continuation),
            "priority": 0 if is_its_turn else record.request.priority,
        }
        queue = names.RESUMED_QUEUE if is_its_turn else names.TRANSCRIBE_QUEUE
        expires = None if record.started else record.expires
        for option, moment in (("eta", record.not_before), ("expires", expires)):
            if moment is not None:
                options[option] = datetime.fromtimestamp(moment, UTC)
        self._app.send_task(
            names.TRANSCRIBE,
            kwargs=as_keywords(record.request),
            kwargsrepr=as_shown(record.request),
            task_id=record.job,
            queue=queue,
            **options,
        )

    def _followers(self, job: str) -> tuple[Continuation | None, str]:
        """Return what follows a job, and what Flower shows in place of the arguments of `assemble`, which has none."""
        try:
            record = self._ledger.job(job)
        except JobNotFound:  # forgotten meanwhile
            return None, "{}"
        except ValidationError:  # written by another version
            return self._ledger.continuation(job), "{}"
        return record.continuation, repr({"file": file_name(record.request.file_path)})

    def _ended(self, job: str, has_ended_it: bool) -> bool:
        if has_ended_it:
            self.publish_assemble(job)
        return has_ended_it


def _send_options(continuation: Continuation | None) -> dict[str, Any]:
    return {} if continuation is None else continuation.send_options()
