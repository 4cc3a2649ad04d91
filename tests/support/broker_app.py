"""A Celery app on the fleet's transport whose task counts its runs in Redis; for the tests of the broker."""

from __future__ import annotations

import os
import time

import redis
from celery import Celery

from whisper_fleet.shared.broker.watchdog import Watchdog

URL = os.environ["BROKER_APP_REDIS"]
app = Celery("broker_app", broker=URL, backend=URL, set_as_current=False)
app.conf.update(
    broker_transport="whisper_fleet.shared.broker.transport:FleetTransport",
    broker_transport_options={
        "visibility_timeout": 86400,
        "accepted_tasks": {"counted": {"count": None, "nap": None}, "other": {"count": None, "nap": None}},
    },
    broker_channel_error_retry=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_acks_late=True,
    task_default_queue="counted",
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    result_backend_always_retry=True,
)
_redis = redis.Redis.from_url(URL)


class ImpatientWatchdog(Watchdog):
    """Ends a worker that took no messages for some seconds."""

    patience = float(os.environ.get("BROKER_APP_PATIENCE", "3600"))


app.steps["worker"].add(ImpatientWatchdog)


@app.task(name="count")
def count(name: str) -> str:
    """Count a run of this name."""
    _redis.hincrby("runs", name, 1)
    return name


@app.task(name="nap")
def nap(name: str, seconds: float) -> str:
    """Count a beginning, sleep, and count a run."""
    _redis.hincrby("begun", name, 1)
    time.sleep(seconds)
    _redis.hincrby("runs", name, 1)
    return name
