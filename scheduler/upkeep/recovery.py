"""Finds what got lost on the way: segments of dead GPUs and silent slots, and messages that never came."""

from __future__ import annotations

import logging
import math
from typing import Any, cast

from pydantic import ValidationError

from whisper_fleet.scheduler.services import Services
from whisper_fleet.scheduler.upkeep.liveness import Liveness
from whisper_fleet.shared import names
from whisper_fleet.shared.errors import JobCancelled, JobNotFound, StaleAttempt
from whisper_fleet.shared.requests import as_keywords
from whisper_fleet.shared.wire import JobState, SegmentMessage

_log = logging.getLogger(__name__)

#: Seconds after which a step that was asked for again is asked for once more.
_AGAIN = 30.0


class Recovery:
    """Every tick may be repeated, skipped, or run on several hosts at once."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._ledger = services.ledger
        self._silence = Liveness(services)

    def tick(self, now: float) -> int:
        """One look at everything that is overdue; how much was set going again."""
        recovered = self._segments(now) + self._steps(now)
        if recovered:
            self._services.poke()
        return recovered

    def _segments(self, now: float) -> int:
        recovered = 0
        for gpu, is_gone in self._silence.look(self._ledger.active_gpus(), now).items():
            for message, was_running in self._ledger.overdue(gpu, math.inf if is_gone else now):
                recovered += self._release(message, was_running, gpu, is_gone, now)
        return recovered

    def _release(self, message: SegmentMessage, was_running: bool, gpu: str, is_gone: bool, now: float) -> bool:
        """The segment waits again; one that ran may have been the reason, so that attempt counts."""
        ran = "is gone" if is_gone else "showed no progress"
        reason = f"GPU {gpu} {ran if was_running else 'never started it'}"
        try:
            if not was_running:
                self._ledger.hand_over(message, now, reason)
            elif self._ledger.give_back(message, reason, now).job_failed:
                self._services.publish_assemble(message.job)
        except (StaleAttempt, JobCancelled, JobNotFound):
            return False
        _log.warning("segment %d of job %s waits again: %s", message.segment, message.job, reason)
        return True

    def _steps(self, now: float) -> int:
        asked = 0
        while page := self._ledger.due(now, now + _AGAIN):
            empty = self._empty_queues()
            for job, state, was_begun in page:
                queue = names.TRANSCRIBE_QUEUE if state is JobState.ACCEPTED else names.ASSEMBLE_QUEUE
                if was_begun or queue in empty:  # else the job's message is most likely in it
                    asked += self._ask_again(job, state)
        return asked

    def _ask_again(self, job: str, state: JobState) -> bool:
        if state is not JobState.ACCEPTED:
            self._services.publish_assemble(job)
            return True
        try:
            keywords = as_keywords(self._ledger.job(job).request)
        except ValidationError as error:  # of another version: it must not hide those behind it
            _log.warning("the record of job %s cannot be read: %s", job, error)
            return False
        _log.warning("the message or the planner of job %s was lost: it is sent again", job)
        app = self._services.app
        app.send_task(names.TRANSCRIBE, kwargs=keywords, task_id=job, queue=names.TRANSCRIBE_QUEUE)
        return True

    def _empty_queues(self) -> set[str]:
        """Those of intake in which nothing waits, of any priority."""
        with self._services.app.connection_for_write() as connection:
            size = cast("Any", connection.default_channel)._size
            return {queue for queue in (names.TRANSCRIBE_QUEUE, names.ASSEMBLE_QUEUE) if not size(queue)}
