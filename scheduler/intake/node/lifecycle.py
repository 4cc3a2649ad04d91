"""What an intake node does beside its tasks, from its start to its end."""

from __future__ import annotations

from typing import Any

from celery import bootsteps, signals

from whisper_fleet.scheduler.intake.decoding.parking import PutOffJobs
from whisper_fleet.scheduler.intake.node.presence import Presence
from whisper_fleet.scheduler.intake.node.revocation import RevocationWatch, on_task_revoked
from whisper_fleet.scheduler.intake.node.scheduled import ScheduledJobs
from whisper_fleet.scheduler.intake.node.shutdown import on_shutting_down
from whisper_fleet.scheduler.services import services
from whisper_fleet.scheduler.webhooks.courier import Courier
from whisper_fleet.shared import names, tracing
from whisper_fleet.shared.ledger.scripts import read_all

#: Seconds between two looks at the revoked ids.
_INTERVAL = 1.0


class IntakeStep(bootsteps.StartStopStep):
    """Watches for revoked jobs and a shutdown, and delivers webhooks, on the nodes that have the tasks of intake."""

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._timer_entry: Any = None
        self._courier = Courier(services)
        self._put_off = PutOffJobs(services)
        self._scheduled = ScheduledJobs()
        self._presence: Presence | None = None

    def include_if(self, parent: Any) -> bool:
        """Return whether the worker is an intake node; every scheduler process has the same app."""
        return names.TRANSCRIBE in parent.app.tasks

    def create(self, parent: Any) -> None:
        """Load what threads would load later, before the pool forks the node's processes."""
        read_all()
        tracing.import_all()

    def start(self, parent: Any) -> None:
        """Connect the signals and start the watch, in the node's main process."""
        self._scheduled.start()
        signals.task_received.connect(self._scheduled.on_task_received, weak=False)
        signals.task_revoked.connect(on_task_revoked, weak=False)
        signals.worker_shutting_down.connect(on_shutting_down, weak=False)
        self._timer_entry = parent.timer.call_repeatedly(_INTERVAL, RevocationWatch().look)
        self._courier.start()
        self._put_off.start()
        self._presence = Presence(services, parent.hostname, parent.concurrency)
        self._presence.start()

    def stop(self, parent: Any) -> None:
        """End the watch."""
        if self._timer_entry is not None:
            self._timer_entry.cancel()
        self._courier.stop()
        self._put_off.stop()
        if self._presence is not None:
            self._presence.stop()
