"""Reads what `top` shows: the fleet's metrics, the running jobs with their text so far, and the newest failures.

An unreachable Redis gives a snapshot that reports it, so that the screen stays and recovers.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice

from redis import Redis
from redis.exceptions import RedisError

from whisper_fleet.cli.top.snapshot import FailureLine, GpuLine, JobLine, TopSnapshot
from whisper_fleet.client import FleetClient
from whisper_fleet.errors import JobNotFound
from whisper_fleet.scheduler.monitoring.snapshot import GpuSnapshot, SnapshotReader
from whisper_fleet.shared import names
from whisper_fleet.shared.display.text import file_name, printable
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.ledger.text_so_far import end_of_text
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobState

#: Running jobs whose text is read, and newest jobs among which failures are sought: a refresh stays cheap.
_MOST_JOBS = 100
_NEWEST = 50
_TEXT_CHARACTERS = 400


class TopReader:
    """Reads snapshots; one client and one connection of its own."""

    def __init__(self, client: FleetClient, redis: Redis, settings: Settings) -> None:
        self._client = client
        self._redis = redis
        self._fleet = SnapshotReader(redis, settings)
        self._last = TopSnapshot(at=0.0)

    def read(self, now: float) -> TopSnapshot:
        """Return the fleet now; while Redis is unreachable, the last state with the problem."""
        try:
            self._last = self._read(now)
        except RedisError as error:
            problem = printable(f"Redis does not answer ({error})")
            return TopSnapshot(**{**vars(self._last), "at": now, "problem": problem})
        return self._last

    def _read(self, now: float) -> TopSnapshot:
        fleet = self._fleet.read()
        running = self._client.running()[:_MOST_JOBS]
        waiting = fleet.depth.values()
        return TopSnapshot(
            at=now,
            gpus=tuple(_gpu(gpu) for gpu in fleet.gpus),
            jobs=tuple(self._job(record, now) for record in running),
            failures=tuple(self._failures()),
            jobs_waiting=sum(jobs for jobs, _ in waiting),
            segments_waiting=sum(segments for _, segments in waiting),
            seconds_waiting=fleet.backlog,
            messages=fleet.messages.get(names.TRANSCRIBE_QUEUE, 0),
            jobs_failed=int(fleet.counts.get("jobs/failed", 0)),
            problem=self._client.intake_problem(),
        )

    def _job(self, record: JobRecord, now: float) -> JobLine:
        progress = record.progress(now)
        text = end_of_text(self._redis, record.job, _TEXT_CHARACTERS)
        return JobLine(
            job=printable(record.job),
            file=file_name(record.request.file_path),
            tenant=printable(record.request.tenant),
            accepted=record.accepted,
            seconds_done=progress.seconds_done,
            seconds_total=progress.seconds_total,
            eta=progress.eta,
            text=printable(" ".join(text.split())),
        )

    def _failures(self) -> list[FailureLine]:
        failed = list[FailureLine]()
        with suppress(JobNotFound):
            for record in islice(self._client.jobs(), _NEWEST):
                if record.state is JobState.FAILED and record.ended is not None:
                    error = printable(f"{record.error_type}: {record.error}")
                    name = file_name(record.request.file_path)
                    failed.append(FailureLine(job=record.job, file=name, ended=record.ended, error=error))
        return sorted(failed, key=lambda one: one.ended, reverse=True)


def _gpu(gpu: GpuSnapshot) -> GpuLine:
    status = gpu.status
    has_memory = status.total_bytes is not None and status.free_bytes is not None
    return GpuLine(
        id=printable(status.id),
        host=printable(status.host),
        is_up=gpu.is_up,
        slots=status.slots,
        busy=status.busy,
        rows=status.rates.rows_live if status.rates else None,
        used_bytes=(status.total_bytes or 0) - (status.free_bytes or 0) if has_memory else None,
        total_bytes=status.total_bytes,
        speed=status.rates.times_realtime if status.rates else None,
    )
