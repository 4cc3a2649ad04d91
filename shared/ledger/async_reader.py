"""The ledger's readers for asyncio; every step that changes a job goes through `Ledger`."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from redis.asyncio import Redis

from whisper_fleet.shared.errors import JobNotFound
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.records import JobRecord, job_record
from whisper_fleet.shared.ledger.scripts import text


class AsyncLedgerReader:
    """Reads jobs from Redis without blocking an event loop; Redis errors pass through as they are."""

    def __init__(self, redis: Redis, *, retention: Callable[[], float]) -> None:
        self._redis = redis
        self._retention = retention

    async def job(self, job: str) -> JobRecord:
        """Return a job's record; raises JobNotFound."""
        fields = await self._redis.hgetall(keys.job(job))
        if not fields:
            raise self.not_found(job)
        return job_record(job, {text(name): text(value) for name, value in fields.items()})

    async def jobs(self, first: int = 0, last: int = -1) -> list[str]:
        """Return the ids of the jobs from the `first` to the `last` newest."""
        newest = cast("list[bytes]", await self._redis.zrevrange(keys.JOBS, first, last))
        return [text(job) for job in newest]

    async def why_waits(self, lane: str) -> str | None:
        """Return what the dispatcher last reported of a lane from which no GPU takes anything."""
        reason = await self._redis.get(keys.lane_wait(lane))
        return None if reason is None else text(reason)

    def not_found(self, job: str) -> JobNotFound:
        """Return the error for a job that is unknown, or that has expired."""
        return JobNotFound(job=job, days=self._retention() / 86400)
