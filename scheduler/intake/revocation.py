"""Lets a plain `AsyncResult(job).revoke(terminate=True)` cancel the job, whichever stage it is in.

Celery only remembers the id, in the memory of each node; the ledger must learn of it, because the job's
waiting and running segments have ids of their own.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Any

from celery import Celery, bootsteps, signals
from celery.worker import state as worker_state

from whisper_fleet.scheduler.intake.settlement import settle
from whisper_fleet.scheduler.services import services
from whisper_fleet.shared import names
from whisper_fleet.shared.errors import JobNotFound

_log = logging.getLogger(__name__)

_INTERVAL = 1.0  # seconds


def watch(app: Celery) -> None:
    """Have every node of the app that takes jobs in look out for revoked ones."""
    app.steps["worker"].add(_Watch)
    signals.task_revoked.connect(_revoked, weak=False)


class _Watch(bootsteps.StartStopStep):
    """Looks at the ids that the node was told to revoke."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._seen: set[str] = set()
        self._entry: Any = None

    def start(self, parent: Any) -> None:
        self._entry = parent.timer.call_repeatedly(_INTERVAL, self._look)

    def stop(self, parent: Any) -> None:
        if self._entry is not None:
            self._entry.cancel()

    def _look(self) -> None:
        revoked = set(worker_state.revoked)
        for job in revoked - self._seen:
            cancel(job)
        self._seen = revoked


def cancel(job: str) -> None:
    """Cancel a job of the ledger and have its client told; ids of anything else mean nothing here."""
    fleet = services()
    try:
        if fleet.actions.cancel(job, time.time()):
            _log.info("job %s was revoked by its client", job)
    except JobNotFound:
        pass


def _revoked(request: Any = None, sender: Any = None, **_: Any) -> None:
    """Celery itself stored REVOKED for a task with the job's id."""
    if getattr(sender, "name", None) in (names.TRANSCRIBE, names.ASSEMBLE):
        # In a thread: the node's main loop is not to wait for a service that is called back.
        threading.Thread(target=_settled, args=(str(request.id),), name="revoked", daemon=True).start()


def _settled(job: str) -> None:
    fleet = services()
    with contextlib.suppress(JobNotFound):
        fleet.ledger.cancel(job, time.time())
    settle(fleet, job)
