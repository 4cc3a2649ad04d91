"""The Celery app of a GPU node: `celery -A whisper_fleet.workers.app worker -P custom ...`."""

from __future__ import annotations

from celery import Celery

from whisper_fleet.shared.broker.remote_control import LimitRemoteControlOfNode
from whisper_fleet.shared.broker.watchdog import Watchdog
from whisper_fleet.shared.display.log_records import configure_log_records
from whisper_fleet.shared.process.steps import ProbesStep, ReloadStep
from whisper_fleet.workers.lifecycle import NodeStep


def make_app() -> Celery:
    """Return an app that reads celeryconfig.py, and with it the environment, when it first needs a value."""
    app = Celery("whisper_fleet", include=["whisper_fleet.workers.tasks"])
    app.config_from_object("whisper_fleet.celeryconfig")
    app.steps["worker"].update((NodeStep, LimitRemoteControlOfNode, Watchdog, ReloadStep, ProbesStep))
    return app


configure_log_records()
app = make_app()
