"""Enters jobs with a countdown or an eta in the ledger when their messages are received, not when they run.

From then on `status` shows when a job is due, `cancel` works, and recovery finds it if its message is lost. While Redis
is unreachable the jobs wait in a thread, whose end the node does not await: their messages are still in the queue.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from queue import SimpleQueue
from typing import Any

from whisper_fleet.scheduler.intake.planning import Planner
from whisper_fleet.scheduler.intake.receipt import Receipt
from whisper_fleet.scheduler.services import services
from whisper_fleet.shared import names
from whisper_fleet.shared.connect import Outage
from whisper_fleet.shared.display.text import printable
from whisper_fleet.shared.errors import FleetError

_log = logging.getLogger(__name__)

_ENTERING = Outage("entering scheduled jobs", _log)


class ScheduledJobs:
    """Enters the scheduled jobs of a node one after another: its main loop must not wait for Redis."""

    def __init__(self) -> None:
        self._received: SimpleQueue[Any] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="scheduled", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def on_task_received(self, request: Any = None, **_: Any) -> None:
        """Take up the job of a `transcribe` that does not run yet."""
        if request is not None and request.type == names.TRANSCRIBE and request.eta:
            self._received.put(request)

    def _run(self) -> None:
        while True:
            request = self._received.get()
            try:
                _ENTERING.retried(partial(_enter, str(request.id), request.request_dict["kwargs"], request._context))
            except FleetError as error:  # it is the client's to know when the job runs, as for every other job
                _log.info("job %s is scheduled, and will fail: %s", printable(request.id), error)
            except Exception:
                _log.exception("job %s is scheduled, but not in the ledger", printable(request.id))


def _enter(job: str, keywords: dict[str, Any], context: Any) -> None:
    fleet = services()
    Planner(fleet).enter(job, keywords, Receipt.of(context))
    fleet.show_record(job)
