"""The Celery app of scheduler, intake, beat and Flower: `celery -A whisper_fleet.scheduler.app ...`."""

from __future__ import annotations

from celery import Celery

from whisper_fleet.shared.broker.remote_control import LimitRemoteControl
from whisper_fleet.shared.broker.watchdog import Watchdog
from whisper_fleet.shared.display.log_records import configure_log_records
from whisper_fleet.shared.process.steps import ProbesStep, ReloadStep


def make_app() -> Celery:
    """Return an app that reads celeryconfig.py, and through it the environment, when it first needs a value."""
    app = Celery("whisper_fleet")
    app.config_from_object("whisper_fleet.celeryconfig")
    app.steps["worker"].update((LimitRemoteControl, Watchdog, ReloadStep, ProbesStep))
    # By name: the steps import this module, and only workers load them.
    app.steps["worker"].add("whisper_fleet.scheduler.hosts:HostPresence")
    app.steps["worker"].add("whisper_fleet.scheduler.intake.node.lifecycle:IntakeStep")
    return app


configure_log_records()
app = make_app()
