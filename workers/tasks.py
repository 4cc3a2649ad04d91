"""The Celery task of a GPU node."""

from __future__ import annotations

import time
from typing import Any

from celery import Task

from whisper_fleet.shared import names
from whisper_fleet.shared.display.log_fields import log_fields
from whisper_fleet.shared.tracing.attempts import traced
from whisper_fleet.shared.wire import SegmentMessage
from whisper_fleet.workers.app import app
from whisper_fleet.workers.node.attempt import Attempt
from whisper_fleet.workers.node.connections import REPORTS
from whisper_fleet.workers.node.node import current_node
from whisper_fleet.workers.node.outcomes import NOT_RETRYABLE
from whisper_fleet.workers.pool.slots import current_slot

#: Seconds between two events of a task; only Flower reads them.
EVENT_INTERVAL = 2.0


@app.task(name=names.TRANSCRIBE_SEGMENT, bind=True, ignore_result=True, throws=NOT_RETRYABLE)
def transcribe_segment(self: Task[Any, Any], /, job: str, segment: int, token: str, **newer: Any) -> str:
    """Transcribe one segment of a job. The ledger has the result; the returned word is for readers of logs and Flower.

    `newer` takes the arguments that only a dispatcher of a newer version sends.
    """
    node = current_node()
    message = SegmentMessage(job=job, segment=segment, token=token)
    attempt = Attempt(node.context, message, current_slot(), _Events(self))
    with log_fields(job=job, segment=segment), attempt.settled():
        work = attempt.start()
        with traced(message, work, node.gpu) as trace:
            result = node.transcriber.transcribe(work, attempt.checkpoint, attempt.set_language, attempt.note_text)
            trace.note(result)
            attempt.finish(result)
        node.transcriber.discard_audio(work)
    return attempt.result


class _Events:
    """Reports a segment's progress to Flower; a lost report does no harm."""

    def __init__(self, task: Task[Any, Any]) -> None:
        self._task = task
        self._sent = 0.0

    def __call__(self, seconds_done: float) -> None:
        if time.monotonic() - self._sent >= EVENT_INTERVAL:
            self._sent = time.monotonic()
            with REPORTS.ignored():
                self._task.send_event("task-progress", retry=False, seconds_done=round(seconds_done, 1))
