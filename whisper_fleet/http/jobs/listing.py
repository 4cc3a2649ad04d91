"""Lists jobs by state, label and time, page by page.

The ledger has one index, of all jobs by when they were accepted. A page reads it from where the last one ended and
keeps what matches. It reads so many records at most, so a page may hold fewer jobs than were asked for, or none,
although more follow: then it has a cursor.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

from redis.asyncio import Redis

from whisper_fleet.http.access.callers import Caller
from whisper_fleet.http.errors import ApiError
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.records import JobRecord, job_record
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.wire import JobState

_PAGE = 200
#: Records that one request reads at most.
_MOST_READ = 5000


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs a client wants to see; moments are Unix seconds."""

    states: frozenset[JobState] = frozenset()  # empty: all
    labels: dict[str, str] = field(default_factory=dict)
    after: float | None = None
    before: float | None = None

    def matches(self, record: JobRecord) -> bool:
        """Return whether a job is one of these; the time is left to the index."""
        has_labels = self.labels.items() <= record.request.labels.items()
        return has_labels and (not self.states or record.state in self.states)


@dataclass(frozen=True)
class Position:
    """The last job that was looked at, in the order of the index."""

    accepted: float
    job: str

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(f"{self.accepted!r} {self.job}".encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, cursor: str) -> Position:
        """Return the position in a cursor; raises ApiError for anything else."""
        try:
            accepted, _, job = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition(" ")
            position = cls(float(accepted), job)
            if math.isfinite(position.accepted):
                return position
        except (binascii.Error, ValueError):
            pass
        raise ApiError(400, "the cursor is none that this server gave", param="cursor")

    def is_before(self, accepted: float, job: str) -> bool:
        """Return whether a job comes after this one in the list: it is older, or equally old with a smaller id."""
        return (accepted, job.encode()) < (self.accepted, self.job.encode())


def read_labels(given: Iterable[str]) -> dict[str, str]:
    """Return the labels of the query, each written as name:text."""
    labels = {}
    for label in given:
        name, colon, value = label.partition(":")
        if not colon or not name:
            raise ApiError(400, f"label={label[:100]!r} is not name:text", param="label")
        labels[name] = value
    return labels


async def list_jobs(
    redis: Redis, caller: Caller, wanted: JobFilter, limit: int, start: Position | None
) -> tuple[list[JobRecord], Position | None]:
    """Return up to `limit` jobs, newest first, and the position to go on from; None at the end."""
    found: list[JobRecord] = []
    newest = wanted.before if start is None else start.accepted
    oldest = "-inf" if wanted.after is None else wanted.after
    for offset in range(0, _MOST_READ, _PAGE):
        page = cast(
            "list[tuple[bytes, float]]",
            await redis.zrange(
                keys.JOBS,
                cast("int", "+inf" if newest is None else newest),
                cast("int", oldest),
                desc=True,
                byscore=True,
                offset=offset,
                num=_PAGE,
                withscores=True,
            ),
        )
        entries = [(text(job), accepted) for job, accepted in page]
        following = [entry for entry in entries if start is None or start.is_before(entry[1], entry[0])]
        for record in await _records(redis, [job for job, _ in following]):
            if caller.may_see(record.request.tenant) and wanted.matches(record):
                found.append(record)
                if len(found) == limit:
                    return found, Position(record.accepted, record.job)
        if len(page) < _PAGE:
            return found, None
        start = Position(entries[-1][1], entries[-1][0]) if following else start
        # Pages are counted from the first newest moment on, so that jobs of one moment are not skipped.
    return found, start


async def _records(redis: Redis, jobs: list[str]) -> list[JobRecord]:
    pipeline = redis.pipeline(transaction=False)
    for job in jobs:
        pipeline.hgetall(keys.job(job))
    stored = await pipeline.execute()
    found = []
    for job, fields in zip(jobs, stored, strict=True):
        if fields:  # else it expired, and the janitor has not removed its id yet
            found.append(job_record(job, {text(name): text(value) for name, value in fields.items()}))
    return found
