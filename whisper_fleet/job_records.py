"""The records of many jobs, for the clients. Knows the ledger and nothing of results; errors of Redis pass through."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress

from redis import Redis

from whisper_fleet.errors import JobNotFound
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.ledger.running import jobs_on_gpus
from whisper_fleet.shared.ledger.scripts import run
from whisper_fleet.shared.wire import JobState

_PAGE = 100


class JobRecords:
    """The jobs that a fleet knows, newest first. A job that expires meanwhile is left out."""

    def __init__(self, redis: Redis, ledger: Ledger) -> None:
        self._redis = redis
        self._ledger = ledger

    def matching(
        self, states: Collection[JobState], labels: Mapping[str, str], since: float | None
    ) -> Iterator[JobRecord]:
        """Yield the jobs in one of these states (none: in any) that have all these labels and are not older."""
        for record in self._all():
            if since is not None and record.accepted < since:
                return
            has_labels = labels.items() <= record.request.labels.items()
            if has_labels and (not states or record.state in states):
                yield record

    def running(self) -> list[JobRecord]:
        """Return the jobs that have segments on a GPU."""
        records = []
        for job in jobs_on_gpus(self._redis):
            with suppress(JobNotFound):
                records.append(self._ledger.job(job))
        return sorted((record for record in records if not record.state.is_final), key=_accepted, reverse=True)

    def delete(self, job: str) -> bool | None:
        """Delete a record; return False if its job has not come to an end everywhere, None if unknown."""
        answer = int(run(self._redis, "delete_job", job))
        return None if answer < 0 else bool(answer)

    def _all(self) -> Iterator[JobRecord]:
        first = 0
        # A job that is submitted meanwhile moves the pages by one, and would show the last of a page again.
        seen = set[str]()
        while page := self._ledger.jobs(first, first + _PAGE - 1):
            for job in page:
                if job not in seen:
                    with suppress(JobNotFound):
                        yield self._ledger.job(job)
            seen.update(page)
            first += _PAGE


def _accepted(record: JobRecord) -> float:
    return record.accepted
