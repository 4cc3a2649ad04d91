"""Shows a job's progress to its client, as `AsyncResult(job).info`."""

from __future__ import annotations

from typing import Any, cast

from celery import Celery
from redis import Redis

from whisper_fleet.shared.ledger.scripts import run, text
from whisper_fleet.shared.wire import JobProgress

STATE = "PROGRESS"


def show(app: Celery, redis: Redis, job: str, progress: JobProgress) -> bool:
    """Store the state PROGRESS with its details, as Celery's Redis backend would; return False if the job has ended.

    The backend itself would let a late report overwrite FAILURE and REVOKED. This checks the ledger in the same step.
    """
    backend = cast("Any", app.backend)
    meta: dict[str, object] = {
        "status": STATE,
        "result": progress.model_dump(),
        "traceback": None,
        "children": [],
        "date_done": None,
        "task_id": job,
    }
    key, expires = text(backend.get_key_for_task(job)), int(backend.expires or 0) or 86400
    return bool(run(redis, "show", job, key, backend.encode(meta), expires))
