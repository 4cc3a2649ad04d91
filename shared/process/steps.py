"""What every Celery worker of the fleet does as a process: a Celery bootstep that starts it."""

from __future__ import annotations

import signal
from typing import Any

from celery import bootsteps, signals

from whisper_fleet.shared import tracing
from whisper_fleet.shared.process.probes import Probes, start_probes_of_process
from whisper_fleet.shared.process.reload import reloader


class ReloadStep(bootsteps.StartStopStep):
    """Reloads settings on SIGHUP, on which Celery would restart the worker, and in the children of its pool."""

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        signals.worker_process_init.connect(_ignore_hangups, weak=False)
        signals.task_prerun.connect(_follow, weak=False)
        signals.worker_process_shutdown.connect(_send_spans, weak=False)

    def start(self, parent: Any) -> None:
        """Take over SIGHUP, after Celery has."""
        reloader.start()


class ProbesStep(bootsteps.StartStopStep):
    """Answers health checks from the start of the worker to its end."""

    requires = ("celery.worker.components:Pool",)  # its children must not inherit the socket

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._probes: Probes | None = None

    def start(self, parent: Any) -> None:
        """Begin to answer."""
        self._probes = start_probes_of_process()

    def stop(self, parent: Any) -> None:
        """Answer no more: a worker that stops is not ready."""
        if self._probes is not None:
            self._probes.stop()


def _ignore_hangups(**_: Any) -> None:
    """Let a child of the pool survive a SIGHUP that goes to the whole process group."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _send_spans(**_: Any) -> None:
    tracing.flush()


def _follow(**_: Any) -> None:
    reloader.follow()
