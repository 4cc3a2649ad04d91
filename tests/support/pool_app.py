"""A Celery app for the tests of the slot pool; its tasks record in Redis how often they ran and how they ended."""

from __future__ import annotations

import os
import time

import redis
from celery import Celery
from celery.exceptions import Ignore
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from whisper_fleet.shared.errors import AttemptError
from whisper_fleet.workers.pool.slots import current_slot

URL = os.environ["POOL_APP_REDIS"]
app = Celery("pool_app", broker=URL, backend=URL)
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    task_default_queue="pool",
    worker_enable_remote_control=True,
    broker_connection_retry_on_startup=True,
    result_backend_always_retry=True,
    broker_transport_options={"visibility_timeout": 86400},
)
_redis = redis.Redis.from_url(URL, retry=Retry(ConstantBackoff(0.2), 150))


@app.task(name="windows", ignore_result=True, store_errors_even_if_ignored=True)
def windows(n: int, seconds: float) -> None:
    """Process `n` windows of `seconds` each, and check the slot before each."""
    task_id = str(windows.request.id)
    _redis.hincrby("started", task_id, 1)
    try:
        for _ in range(n):
            current_slot().check()
            time.sleep(seconds)
            _redis.hincrby("windows", task_id, 1)
    except AttemptError as reason:
        _redis.hset("stopped", task_id, type(reason).__name__)
        raise Ignore from reason
    _redis.hincrby("done", task_id, 1)


@app.task(name="stuck", ignore_result=True)
def stuck(seconds: float) -> None:
    """Sleep without ever checking the slot."""
    _redis.hincrby("started", str(stuck.request.id), 1)
    time.sleep(seconds)


@app.task(name="add")
def add(a: int, b: int) -> int:
    return a + b
