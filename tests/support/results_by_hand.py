"""Results as Celery's Redis backend stores and publishes them."""

from __future__ import annotations

import json
from typing import Any

from redis import Redis

RESULT = {"text": " Hello.", "segments": [], "language": "en", "segment_gpus": ["host.0"], "output_files": []}


def publish_result(redis: Redis, job: str, status: str, result: Any) -> None:
    """Store and publish the result of a job."""
    key, meta = f"celery-task-meta-{job}", json.dumps({"status": status, "result": result, "task_id": job})
    redis.set(key, meta)
    redis.publish(key, meta)


def subscribers(redis: Redis, job: str) -> int:
    """Return how many connections are subscribed to the changes of a job."""
    ((_, count),) = redis.pubsub_numsub(f"celery-task-meta-{job}")
    return int(count)


def failure(kind: str, message: str) -> dict[str, object]:
    """Return what is stored of one of the fleet's errors."""
    return {"exc_type": kind, "exc_message": [message], "exc_module": "whisper_fleet.shared.errors"}
