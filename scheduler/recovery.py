"""Finds what got lost on the way: segments of dead GPUs and silent slots, and messages that never came."""

from __future__ import annotations

import logging
import math
from typing import Any, cast

from scheduler.services import Services
from shared import queues
from shared.errors import JobCancelled, JobNotFound, StaleAttempt
from shared.requests import as_keywords
from shared.wire import JobState, SegmentMessage

_log = logging.getLogger(__name__)

#: Seconds after which a step that was asked for again is asked for once more.
_AGAIN = 30.0


class Recovery:
    """Every tick may be repeated, skipped, or run on several hosts at once."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._ledger = services.ledger

    def tick(self, now: float) -> int:
        """One look at everything that is overdue; how much was set going again."""
        recovered = self._segments(now) + self._steps(now)
        if recovered:
            self._services.poke()
        return recovered

    def _segments(self, now: float) -> int:
        alive = self._services.fleet.gpus(now, self._services.settings.heartbeat_timeout)
        ids = {gpu.id for gpu in alive}
        recovered = 0
        for gpu in self._ledger.active_gpus():
            for message, was_running in self._ledger.overdue(gpu, now if gpu in ids else math.inf):
                recovered += self._release(message, was_running, gpu, gpu in ids, now)
        return recovered

    def _release(
        self, message: SegmentMessage, was_running: bool, gpu: str, is_alive: bool, now: float
    ) -> bool:
        """The segment waits again; one that ran may have been the reason, so that attempt counts."""
        ran = "showed no progress" if is_alive else "is gone"
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
        return sum(self._ask_again(job, state) for job, state in self._ledger.due(now, now + _AGAIN))

    def _ask_again(self, job: str, state: JobState) -> bool:
        if state is not JobState.ACCEPTED:
            self._services.publish_assemble(job)
            return True
        if self._waiting_for_intake():
            return False
        _log.warning("the message of job %s was lost: it is sent again", job)
        keywords = as_keywords(self._ledger.job(job).request)
        app = self._services.app
        app.send_task(queues.TRANSCRIBE, kwargs=keywords, task_id=job, queue=queues.TRANSCRIBE_QUEUE)
        return True

    def _waiting_for_intake(self) -> int:
        """Messages in intake's queue: while there are any, the job's is most likely among them."""
        with self._services.app.connection_for_write() as connection:
            channel = cast("Any", connection.default_channel)
            return int(channel._size(queues.TRANSCRIBE_QUEUE))  # of all priorities
