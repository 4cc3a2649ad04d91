"""Jobs for the fleet, sent as any service sends them, and the outcome of each."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from celery.result import AsyncResult

from benchmarks.gpu.fleet.live import LiveFleet, until
from whisper_fleet.shared import names
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.wire import JobState

_LOOK_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a load: jobs and segments by how they ended."""

    jobs: int
    done: int
    failed: int  # or cancelled
    open: int
    received_success: int  # jobs whose client received SUCCESS from Celery
    segments: int
    segments_done: int
    attempts_lost: int  # attempts at segments that did not end in their result
    results: int  # kept in the ledger
    by_gpu: dict[str, int]  # results
    errors: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Return whether nothing was lost and nothing failed."""
        whole = self.jobs == self.done == self.received_success
        return whole and self.segments == self.segments_done == self.results and not self.failed

    @property
    def account(self) -> str:
        """Return the progress as text."""
        return f"{self.done} of {self.jobs} jobs, {self.segments_done} of {self.segments} segments"


class Load:
    """The jobs of one fleet: `keep` holds a number of them in progress until `end`, `add` sends some at once."""

    def __init__(self, fleet: LiveFleet, file: Path, **asked: Any) -> None:
        self._fleet, self._file, self._asked = fleet, file, asked
        self._jobs: list[str] = []
        self._ended: dict[str, JobRecord] = {}
        self._open: dict[str, JobRecord] = {}
        self._wanted = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def keep(self, jobs: int) -> None:
        """Keep this many jobs in progress from now on."""
        self._wanted = jobs
        self._thread = threading.Thread(target=self._keep_going, daemon=True)
        self._thread.start()

    def add(self, jobs: int, **asked: Any) -> None:
        """Send this many jobs."""
        for _ in range(jobs):
            given = {"file_path": str(self._file), **self._asked, **asked}
            sent = self._fleet.app.send_task(names.TRANSCRIBE, kwargs=given, queue=names.TRANSCRIBE_QUEUE)
            self._jobs.append(sent.id)

    def end(self, seconds: float) -> float:
        """Stop sending, wait for what was sent, and return the seconds it took."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        return until("the last jobs", lambda: len(self.look()) == len(self._jobs), seconds)

    def look(self) -> dict[str, JobRecord]:
        """Return the jobs that have ended by now."""
        for job in self._jobs:
            if job in self._ended or not self._fleet.redis.exists(keys.job(job)):
                continue  # or no intake has drawn it yet
            record = self._fleet.ledger.job(job)
            if record.state.is_final:
                self._ended[job] = record
                self._open.pop(job, None)
            else:
                self._open[job] = record
        return self._ended

    @property
    def known(self) -> list[JobRecord]:
        """Return the jobs that intake has taken, as of the last poll."""
        return [*self._ended.values(), *self._open.values()]

    @property
    def segments_done(self) -> int:
        """Return the value as of the last poll."""
        return sum(one.segments_done for one in self.known)

    def outcome(self) -> Outcome:
        """Return the ledger's counts, and the results that clients received."""
        self.look()
        records = self.known
        results = [result.gpu for job in self._jobs for result in self._fleet.ledger.results(job)]
        ended = Counter(record.state for record in self._ended.values())
        return Outcome(
            jobs=len(self._jobs),
            done=ended[JobState.DONE],
            failed=ended[JobState.FAILED] + ended[JobState.CANCELLED],
            open=len(self._jobs) - len(self._ended),
            received_success=sum(AsyncResult(job, app=self._fleet.app).state == "SUCCESS" for job in self._jobs),
            segments=sum(record.segments_total or 0 for record in records),
            segments_done=sum(record.segments_done for record in records),
            attempts_lost=sum(attempt - 1 for job in self._jobs for attempt in self.attempts(job)),
            results=len(results),
            by_gpu=dict(sorted(Counter(results).items())),
            errors=sorted({str(record.error) for record in records if record.error}),
        )

    def attempts(self, job: str) -> list[int]:
        """Return the number of the last attempt at each segment of every job."""
        known = cast("list[bytes]", self._fleet.redis.hvals(keys.segments(job)))
        return [int(json.loads(one)["attempt"]) for one in known]

    def _keep_going(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            self.add(self._wanted - len(self._jobs) + len(self.look()))


def wait(seconds: float) -> None:
    """Wait until a phase is over."""
    time.sleep(seconds)
