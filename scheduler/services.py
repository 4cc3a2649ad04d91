"""The settings and clients that the parts of the scheduler share, one set per process."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from functools import lru_cache

from celery import Celery
from redis import Redis

from whisper_fleet.scheduler.app import app
from whisper_fleet.shared.connect import connect
from whisper_fleet.shared.ledger.actions import JobActions
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.progress import show
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.ledger.wakeup import wake_dispatcher
from whisper_fleet.shared.settings import Settings, load_settings
from whisper_fleet.shared.wire import JobProgress


@dataclass(frozen=True, kw_only=True)
class Services:
    """The settings and clients of one process."""

    app: Celery
    redis: Redis
    settings: Settings
    ledger: Ledger
    actions: JobActions
    fleet: GpuRegistry
    made: str  # the host, and what is unique to the process that made them

    @property
    def name(self) -> str:
        """A name that no other process has; a process forked from this one shares `made`, but not the number."""
        return f"{self.made}.{os.getpid()}"

    def wake_dispatcher(self) -> None:
        """Wake the dispatcher: there is new work, or a slot is free."""
        wake_dispatcher(self.app, self.redis)

    def show(self, job: str, progress: JobProgress) -> None:
        """Show a job's progress under the id that its client holds."""
        show(self.app, self.redis, job, progress)

    def show_record(self, job: str) -> None:
        """Show how far a job is by its record; raises JobNotFound."""
        self.show(job, self.ledger.job(job).progress(self.ledger.now()))


def make_services(app: Celery, settings: Settings) -> Services:
    """Return the clients for these settings; they connect when they are first used."""
    redis = connect(settings.redis_url)
    ledger = Ledger(redis, settings)
    return Services(
        app=app,
        redis=redis,
        settings=settings,
        ledger=ledger,
        actions=JobActions(ledger, app),
        fleet=GpuRegistry(redis),
        made=f"{settings.host}/{uuid.uuid4().hex}",
    )


@lru_cache(maxsize=1)
def services() -> Services:
    """Return the services of this process."""
    return make_services(app, load_settings())
