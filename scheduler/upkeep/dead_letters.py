"""Answers the clients of messages that were set aside: a wrong request must not stay PENDING for ever."""

from __future__ import annotations

import logging

from celery import states

from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.broker.dead_letters import DeadLetter, DeadLetters
from whisper_fleet.shared.errors import JobNotFound, MessageRejected

log = logging.getLogger(__name__)


class DeadLetterDesk:
    """Stores a FAILURE for each dead letter whose id can be read; every tick may be repeated."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._letters = DeadLetters(services.redis)

    def tick(self) -> int:
        """Answer the dead letters that have no answer yet, and return how many clients were answered."""
        answered = 0
        for letter in self._letters.unanswered():
            answered += self._answer(letter)
            self._letters.mark_answered(letter.number)
        return answered

    def _answer(self, letter: DeadLetter) -> bool:
        job = letter.task_id
        if job is None or self._is_known(job):
            return False
        log.warning("job %s fails: its message was set aside, because %s", job, letter.reason)
        error = MessageRejected(reason=letter.reason)
        self._services.app.backend.store_result(job, error, states.FAILURE)
        return True

    def _is_known(self, job: str) -> bool:
        """Return whether the id belongs to a job: its result is not for a broken message to replace."""
        try:
            self._services.ledger.job(job)
        except JobNotFound:
            return bool(self._services.app.AsyncResult(job).ready())
        return True
