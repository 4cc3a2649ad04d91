"""A job as the API shows it. Pure."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from whisper_fleet.http.jobs.requests import FILE_NAME_LABEL
from whisper_fleet.shared.http.uploads import upload_of
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.wire import JobProgress, JobState, JobWarning, TranscribeRequest

#: What a view shows under a name of its own, and the address of a webhook, which may hold a secret.
_NOT_OPTIONS = {
    "file_path",
    "model_name",
    "task",
    "language",
    "priority",
    "tenant",
    "labels",
    "output_path",
    "callback_url",
}


class JobErrorView(BaseModel):
    """Why a job has no transcript."""

    type: str
    message: str


class ProgressView(BaseModel):
    """How far a job is; seconds are seconds of audio, `eta` is seconds from now."""

    stage: str
    seconds_done: float
    seconds_total: float | None
    segments_done: int
    segments_total: int | None
    eta: float | None
    message: str | None


class JobView(BaseModel):
    """A job; moments are Unix seconds."""

    id: str
    object: Literal["job"] = "job"
    state: JobState
    created_at: float
    started_at: float | None
    ended_at: float | None
    source: str | None  # the URL or path; None: an upload
    file_name: str | None
    model: str
    task: str
    language: str | None
    priority: int
    tenant: str
    labels: dict[str, str]
    duration: float | None
    output_path: str | None
    options: dict[str, Any]  # the other options that the client chose
    progress: ProgressView
    error: JobErrorView | None
    warnings: list[JobWarning]


class JobList(BaseModel):
    """A page of jobs, newest first."""

    object: Literal["list"] = "list"
    data: list[JobView]
    has_more: bool
    next_cursor: str | None


class DeletedJob(BaseModel):
    """A job that is no more."""

    id: str
    object: Literal["job"] = "job"
    deleted: bool = True


def job_view(record: JobRecord, progress: JobProgress) -> JobView:
    """Return what the API shows of a job."""
    request = record.request
    error = None if record.error is None else JobErrorView(type=record.error_type or "JobError", message=record.error)
    return JobView(
        id=record.job,
        state=record.state,
        created_at=record.accepted,
        started_at=record.started,
        ended_at=record.ended,
        source=None if upload_of(request.file_path) else request.file_path,
        file_name=request.labels.get(FILE_NAME_LABEL),
        model=request.model_name,
        task=request.task,
        language=request.language or record.language,
        priority=request.priority,
        tenant=request.tenant,
        labels=request.labels,
        duration=record.duration,
        output_path=request.output_path,
        options=_options(request),
        progress=ProgressView(**progress.model_dump(exclude={"warnings"})),
        error=error,
        warnings=list(record.warnings),
    )


def _options(request: TranscribeRequest) -> dict[str, Any]:
    options = request.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_OPTIONS)
    whispers = options.pop("options", {})
    return {**options, **whispers}
