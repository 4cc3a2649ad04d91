"""Lets a plain `AsyncResult(job).revoke(terminate=True)` cancel a job at any stage.

Celery keeps revoked ids only in the memory of each node. The ledger has to learn of them, because the waiting and
running segments of the job have ids of their own.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import Any

from celery.worker import state as worker_state

from whisper_fleet.scheduler.intake.settlement import settle
from whisper_fleet.scheduler.services import services
from whisper_fleet.shared import names
from whisper_fleet.shared.display.log_fields import about_job
from whisper_fleet.shared.errors import JobNotFound
from whisper_fleet.shared.ledger.records import shown

_log = logging.getLogger(__name__)


class RevocationWatch:
    """Cancels the jobs whose ids were revoked since the last look."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def look(self) -> None:
        """Look once; called by the timer of the node's main process."""
        revoked = set(worker_state.revoked)
        for job in revoked - self._seen:
            cancel(job)
        self._seen = revoked


def cancel(job: str) -> None:
    """Cancel a job of the ledger, and have its client notified; ids that are not jobs are ignored."""
    with contextlib.suppress(JobNotFound):
        if services().actions.cancel(job, services().ledger.now()):
            record = services().ledger.job(job)
            _log.info("job %s was revoked by its client", shown(record), extra=about_job(job, record.request))


def on_task_revoked(request: Any = None, sender: Any = None, **_: Any) -> None:
    """Settle a job for whose id Celery itself stored REVOKED."""
    if getattr(sender, "name", None) in (names.TRANSCRIBE, names.ASSEMBLE):
        # In a thread: the node's main loop must not wait for the service at the callback URL.
        threading.Thread(target=_cancel_and_settle, args=(str(request.id),), name="revoked", daemon=True).start()


def _cancel_and_settle(job: str) -> None:
    fleet = services()
    with contextlib.suppress(JobNotFound):
        fleet.ledger.cancel(job, fleet.ledger.now())  # without `assemble`: the client has its answer already
    settle(fleet, job)
