"""The task of a GPU node."""

from __future__ import annotations

import time
from typing import Any

from celery import Task

from whisper_fleet.shared import names
from whisper_fleet.shared.wire import SegmentMessage
from whisper_fleet.workers.app import app
from whisper_fleet.workers.node.attempt import NOT_RETRYABLE, Attempt
from whisper_fleet.workers.node.node import current_node
from whisper_fleet.workers.pool.slots import current_slot

#: Seconds between two events of a task; they only feed Flower.
EVENT_INTERVAL = 2.0


@app.task(name=names.TRANSCRIBE_SEGMENT, bind=True, ignore_result=True, throws=NOT_RETRYABLE)
def transcribe_segment(self: Task[Any, Any], /, job: str, segment: int, token: str, **newer: Any) -> str:
    """Transcribe one segment of a job; how it ended is in the ledger, the returned word is for people.

    `newer`: what only the dispatcher of a newer version sends.
    """
    message = SegmentMessage(job=job, segment=segment, token=token)
    attempt = Attempt(current_node(), message, current_slot(), _Events(self))
    with attempt.settled():
        work = attempt.start()
        audio, decode_seconds = attempt.read(work)
        result = attempt.transcribe(work, audio, decode_seconds)
        attempt.finish(result)
    return attempt.outcome


class _Events:
    """Tells Flower how far a segment is; what is lost on the way does no harm."""

    def __init__(self, task: Task[Any, Any]) -> None:
        self._task = task
        self._sent = 0.0

    def __call__(self, seconds_done: float) -> None:
        if time.monotonic() - self._sent >= EVENT_INTERVAL:
            self._sent = time.monotonic()
            self._task.send_event("task-progress", retry=False, seconds_done=round(seconds_done, 1))
