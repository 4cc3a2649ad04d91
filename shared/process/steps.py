"""What every Celery worker of the fleet does as a process: a Celery bootstep that starts it."""

from __future__ import annotations

import signal
from typing import Any

from celery import bootsteps, signals

from whisper_fleet.shared.process.reload import reloader


class ReloadStep(bootsteps.StartStopStep):
    """Reloads settings on SIGHUP, on which Celery would restart the worker, and in the children of its pool."""

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        signals.worker_process_init.connect(_ignore_hangups, weak=False)
        signals.task_prerun.connect(_follow, weak=False)

    def start(self, parent: Any) -> None:
        """Take over SIGHUP, after Celery has."""
        reloader.start()


def _ignore_hangups(**_: Any) -> None:
    """Let a child of the pool survive a SIGHUP that goes to the whole process group."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _follow(**_: Any) -> None:
    reloader.follow()
