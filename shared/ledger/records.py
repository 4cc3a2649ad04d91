"""What the ledger returns: a job's record, its progress, and the results of transitions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from whisper_fleet.shared.display.text import file_name, printable
from whisper_fleet.shared.ledger.continuation import Continuation
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.models import MODELS, ModelDims
from whisper_fleet.shared.wire import JobProgress, JobState, JobWarning, Lane, Need, TranscribeRequest, WaitingJob, Wire

_WARNINGS = TypeAdapter(tuple[JobWarning, ...])
_STAGES = {JobState.RUNNING: "transcribing"}


@dataclass(frozen=True, kw_only=True)
class Finish:
    """The result of finishing a segment."""

    last: bool  # it was the job's last segment, so that `assemble` must be published
    progress: JobProgress | None  # to show to the client; None: progress was shown a moment ago


@dataclass(frozen=True, kw_only=True)
class GivenBack:
    """The result of returning a segment to the queue."""

    job_failed: bool  # the attempt was the last one allowed, so that `assemble` must be published


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """A job in the ledger; moments are Unix seconds."""

    job: str
    state: JobState
    request: TranscribeRequest
    accepted: float
    planned: float | None
    started: float | None  # its first segment
    ended: float | None
    duration: float | None  # seconds of audio
    segments_total: int | None
    segments_done: int
    seconds_done: float
    error_type: str | None
    error: str | None
    language: str | None = None  # that was detected for the job; None: not yet, or the request names it
    language_probability: float | None = None
    not_before: float | None = None  # it is planned no sooner
    expires: float | None = None  # it is cancelled if no segment has started by then
    warnings: tuple[JobWarning, ...] = ()
    trace: str | None = None  # the traceparent of its submit
    continuation: Continuation | None = None  # what follows it for the client that sent it with Celery
    is_open: bool = False  # segments are still being added to its plan, so their number is unknown

    def progress(self, now: float) -> JobProgress:
        """Return the job's progress at `now`, as its client sees it."""
        return _progress(
            state=self.state,
            total=self.segments_total,
            done=self.segments_done,
            duration=self.duration,
            seconds_done=self.seconds_done,
            started=self.started,
            now=now,
            not_before=self.not_before,
            warnings=self.warnings,
        )


def shown(record: JobRecord) -> str:
    """Return a job as logs name it: its id, and the name of its file."""
    return f"{printable(record.job)} ({file_name(record.request.file_path)})"


class LaneNeeds(Wire):
    """What all jobs of a lane have in common; the lane's id is its digest."""

    priority: int
    tenant: str
    need: Need

    @property
    def lane(self) -> str:
        """The lane's id. It does not depend on `dims`: whoever has the request can compute it."""
        known_to_clients = self.model_copy(update={"need": self.need.model_copy(update={"dims": None})})
        return hashlib.sha256(known_to_clients.to_json().encode()).hexdigest()[:16]


def lane_of(request: TranscribeRequest, dims: ModelDims | None = None) -> LaneNeeds:
    """Return the needs that decide in which lane a job waits."""
    need = Need(
        model_name=request.model_name,
        precision=request.precision,
        segment_duration=request.segment_duration,
        rows=rows_per_slot(request.options),
        gpu_ids=request.gpu_ids,
        dims=None if request.model_name in MODELS else dims,
    )
    return LaneNeeds(priority=request.priority, tenant=request.tenant, need=need)


def depth_from(lanes: Sequence[tuple[int, int, int]]) -> dict[int, tuple[int, int]]:
    """Return jobs and segments by priority, from those of each lane."""
    depth: dict[int, tuple[int, int]] = {}
    for priority, jobs, segments in lanes:
        known = depth.get(priority, (0, 0))
        depth[priority] = (known[0] + jobs, known[1] + segments)
    return depth


def lane_from(lane: bytes, since: bytes, needs: bytes, tenant_served: bytes, jobs: list[Any]) -> Lane:
    """Return a lane from what the script `lanes` returns."""
    known = LaneNeeds.from_json(needs)
    return Lane(
        id=text(lane),
        priority=known.priority,
        tenant=known.tenant,
        need=known.need,
        since=float(since),
        tenant_served=float(tenant_served),
        jobs=tuple(_waiting(*job) for job in jobs),
    )


def _waiting(queued_as: bytes, served: bytes, seconds: bytes, segments: list[bytes]) -> WaitingJob:
    accepted, _, job = text(queued_as).partition(":")
    return WaitingJob(
        job=job,
        accepted=float(accepted),
        served=float(served),
        seconds=float(seconds),
        segments=tuple(int(segment) for segment in segments),
    )


def rows_per_slot(options: dict[str, Any]) -> int:
    """Return the most rows of the batch that one window takes: the number of its beams or samples."""
    return max(int(options.get(name) or 1) for name in ("beam_size", "best_of"))


def progress_from(fields: Sequence[Any], now: float) -> JobProgress:
    """Return the progress in the fields that the scripts return (PROGRESS_FIELDS in common.lua)."""
    state, total, done, duration, seconds_done, started, _, warnings = fields
    return _progress(
        state=JobState(text(state)),
        total=_int(total),
        done=_int(done) or 0,
        duration=_float(duration),
        seconds_done=_float(seconds_done) or 0.0,
        started=_float(started),
        now=now,
        warnings=_warnings(warnings),
    )


def job_record(job: str, fields: dict[str, str]) -> JobRecord:
    """Return the record in the fields of a job's hash."""
    return JobRecord(
        job=job,
        state=JobState(fields["state"]),
        request=TranscribeRequest.from_json(fields["request"]),
        accepted=float(fields["accepted"]),
        planned=_float(fields.get("planned")),
        started=_float(fields.get("started")),
        ended=_float(fields.get("ended")),
        duration=_float(fields.get("duration")),
        segments_total=_int(fields.get("total")),
        segments_done=_int(fields.get("done")) or 0,
        seconds_done=_float(fields.get("seconds_done")) or 0.0,
        error_type=fields.get("error_type") or None,
        error=fields.get("error") or None,
        language=fields.get("language"),
        language_probability=_float(fields.get("language_probability")),
        not_before=_float(fields.get("not_before")),
        expires=_float(fields.get("expires")),
        warnings=_warnings(fields.get("warnings")),
        trace=fields.get("trace"),
        continuation=Continuation.from_json(fields["continuation"]) if "continuation" in fields else None,
        is_open="open" in fields,
    )


def _progress(
    *,
    state: JobState,
    total: int | None,
    done: int,
    duration: float | None,
    seconds_done: float,
    started: float | None,
    now: float,
    not_before: float | None = None,
    warnings: tuple[JobWarning, ...] = (),
) -> JobProgress:
    is_scheduled = state is JobState.ACCEPTED and not_before is not None and now < not_before
    return JobProgress(
        stage="scheduled" if is_scheduled else _stage(state, started),
        seconds_done=round(max(seconds_done, 0.0), 3),
        seconds_total=None if duration is None else round(duration, 3),
        segments_done=done,
        segments_total=total,
        eta=_eta(duration, seconds_done, started, now),
        message=f"it is scheduled for {_utc(not_before)}" if is_scheduled and not_before is not None else None,
        warnings=warnings,
    )


def warnings_json(warnings: tuple[JobWarning, ...]) -> str:
    """Return warnings as they are stored."""
    return _WARNINGS.dump_json(warnings, exclude_none=True).decode()


def _warnings(stored: bytes | str | None) -> tuple[JobWarning, ...]:
    return () if stored is None else _WARNINGS.validate_json(stored, extra="ignore")


def _stage(state: JobState, started: float | None) -> str:
    return "queued" if started is None and not state.is_final else _STAGES.get(state, state.value)


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(" ", "seconds")


def _eta(duration: float | None, seconds_done: float, started: float | None, now: float) -> float | None:
    """Return the seconds left at the average speed so far; None before there is one."""
    if duration is None or started is None or seconds_done <= 0 or now <= started:
        return None
    return round(max(duration - seconds_done, 0.0) * (now - started) / seconds_done, 1)


def _float(value: bytes | str | None) -> float | None:
    return None if value is None else float(value)


def _int(value: bytes | str | int | None) -> int | None:
    return None if value is None else int(value)
