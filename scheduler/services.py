"""What intake, dispatcher, recovery and janitor work with: settings and clients, one set a process."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from functools import lru_cache

from celery import Celery
from redis import Redis

from whisper_fleet.scheduler.app import app
from whisper_fleet.shared import names
from whisper_fleet.shared.connect import connect
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.progress import show
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.ledger.wakeup import wake_dispatcher
from whisper_fleet.shared.settings import Settings, load_settings
from whisper_fleet.shared.wire import JobProgress


@dataclass(frozen=True, kw_only=True)
class Services:
    """The clients of one process."""

    app: Celery
    redis: Redis
    settings: Settings
    ledger: Ledger
    fleet: GpuRegistry
    made: str  # unique

    @property
    def name(self) -> str:
        """Of this process, unique: what is forked after the services were made has them, too."""
        return f"{self.made}.{os.getpid()}"

    def poke(self) -> None:
        wake_dispatcher(self.app, self.redis)

    def show(self, job: str, progress: JobProgress) -> None:
        show(self.app, self.redis, job, progress)

    def publish_assemble(self, job: str) -> None:
        """The job's end goes out under the id that the client holds."""
        self.app.send_task(names.ASSEMBLE, task_id=job, queue=names.ASSEMBLE_QUEUE)


def make_services(app: Celery, settings: Settings) -> Services:
    redis = connect(settings.redis_url)
    return Services(
        app=app,
        redis=redis,
        settings=settings,
        ledger=Ledger(redis, max_attempts=settings.max_attempts, retention=settings.job_retention),
        fleet=GpuRegistry(redis),
        made=uuid.uuid4().hex,
    )


@lru_cache(maxsize=1)
def services() -> Services:
    """Those of this process; nothing connects before it is first asked."""
    return make_services(app, load_settings())
