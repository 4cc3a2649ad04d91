"""Finds work that was lost: segments of dead GPUs and silent slots, and messages that never arrived."""

from __future__ import annotations

import logging
import math

from pydantic import ValidationError

from whisper_fleet.scheduler.services import Services
from whisper_fleet.scheduler.upkeep.liveness import Liveness
from whisper_fleet.shared import names
from whisper_fleet.shared.broker.queues import queue_length
from whisper_fleet.shared.display.log_fields import about_job, log_fields
from whisper_fleet.shared.errors import JobNotFound
from whisper_fleet.shared.ledger.records import shown
from whisper_fleet.shared.tracing.lost import traced_loss
from whisper_fleet.shared.wire import JobState, SegmentMessage

_log = logging.getLogger(__name__)

#: Seconds after which a message that was sent again is sent once more.
_AGAIN = 30.0


class Recovery:
    """Every tick may be repeated, skipped, or run on several hosts at once."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._ledger = services.ledger
        self._liveness = Liveness(services)

    def tick(self, now: float) -> int:
        """Recover everything that is overdue; return how much that was."""
        recovered = self._recover_segments(now) + self._release_held(now) + self._resend_steps(now)
        if recovered:
            self._services.wake_dispatcher()
        return recovered

    def _recover_segments(self, now: float) -> int:
        recovered = 0
        for gpu, is_dead in self._liveness.look(self._ledger.active_gpus(), now).items():
            for message, was_running in self._ledger.overdue(gpu, math.inf if is_dead else now):
                recovered += self._return(message, _reason(gpu, is_dead, was_running), now, was_running)
        return recovered

    def _return(self, message: SegmentMessage, reason: str, now: float, was_running: bool) -> bool:
        with traced_loss(self._services.redis, message, reason, now):
            is_returned = self._services.actions.return_lost(message, reason, now, was_running=was_running)
        if is_returned:
            with log_fields(job=message.job, segment=message.segment):
                _log.warning("segment %d of job %s waits again: %s", message.segment, self._shown(message.job), reason)
        return is_returned

    def _release_held(self, now: float) -> int:
        """Release segments whose job's first segment ran on a node of a version that reports no language."""
        released = self._ledger.release_undetected(now)
        for job in released:
            job = self._shown(job)
            _log.warning("the first segment of job %s ended without reporting a language: its own is taken", job)
        return len(released)

    def _resend_steps(self, now: float) -> int:
        resent = 0
        while page := self._ledger.due(now, now + _AGAIN):
            empty = self._empty_queues()
            for job, state, was_begun in page:
                queue = names.TRANSCRIBE_QUEUE if state is JobState.ACCEPTED else names.ASSEMBLE_QUEUE
                if was_begun or queue in empty:  # else the job's message is most likely still in the queue
                    resent += self._resend(job, state)
        return resent

    def _resend(self, job: str, state: JobState) -> bool:
        if state is not JobState.ACCEPTED:
            self._services.actions.publish_assemble(job)
            return True
        try:
            record = self._ledger.job(job)
        except ValidationError as error:  # written by another version: it must not block the jobs behind it
            _log.warning("the record of job %s cannot be read: %s", job, error)
            return False
        extra = about_job(job, record.request)
        _log.warning("the message or the planner of job %s was lost: it is sent again", shown(record), extra=extra)
        self._services.actions.publish_transcribe(record)
        return True

    def _shown(self, job: str) -> str:
        """Return a job's id with the name of its file, if that can be read."""
        try:
            return shown(self._ledger.job(job))
        except (JobNotFound, ValidationError):
            return job

    def _empty_queues(self) -> set[str]:
        queues = (names.TRANSCRIBE_QUEUE, names.ASSEMBLE_QUEUE)
        return {queue for queue in queues if not queue_length(self._services.redis, queue)}


def _reason(gpu: str, is_dead: bool, was_running: bool) -> str:
    if not was_running:
        return f"GPU {gpu} never started it"
    return f"GPU {gpu} is gone" if is_dead else f"GPU {gpu} showed no progress"
