"""Which jobs have work on a GPU, and which were deleted before they had any."""

from __future__ import annotations

from typing import cast

from redis import Redis

from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text


def jobs_on_gpus(redis: Redis) -> set[str]:
    """Return the ids of the jobs that have segments assigned to a GPU, or running on it."""
    jobs = set()
    for gpu in redis.smembers(keys.ACTIVE_GPUS):
        members = cast("list[bytes]", redis.zrange(keys.active(text(gpu)), 0, -1))
        jobs |= {text(member).partition(":")[2] for member in members}
    return jobs


def was_deleted(redis: Redis, job: str) -> bool:
    """Return whether a job was deleted before intake took its message."""
    return bool(redis.exists(keys.deleted(job)))
