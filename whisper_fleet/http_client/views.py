"""From a job as the server shows it to the values that every client of a fleet returns. Pure.

Fields that are new to this client are ignored, because the server may be of a newer version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from whisper_fleet import errors
from whisper_fleet.outcome import Outcome
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.request.options import TranscribeRequest
from whisper_fleet.shared.wire import JobProgress, JobState, JobWarning

_WARNINGS = TypeAdapter(tuple[JobWarning, ...])
_SHOWN = ("task", "language", "priority", "tenant", "labels", "output_path")


def progress_of(view: Mapping[str, Any]) -> JobProgress:
    """Return how far a job is."""
    return JobProgress.model_validate({**view["progress"], "warnings": view["warnings"]}, extra="ignore")


def record_of(view: Mapping[str, Any]) -> JobRecord:
    """Return a job's record; its file is the URL or path, or the name that an uploaded file had."""
    progress, error = view["progress"], view["error"] or {}
    request = {name: view[name] for name in _SHOWN}
    request |= {"file_path": view["source"] or view["file_name"] or "upload", "model_name": view["model"]}
    for name, value in view["options"].items():
        (request if name in TranscribeRequest.model_fields else request.setdefault("options", {}))[name] = value
    return JobRecord(
        job=view["id"],
        state=JobState(view["state"]),
        request=TranscribeRequest.model_validate(request, extra="ignore"),
        accepted=view["created_at"],
        planned=None,
        started=view["started_at"],
        ended=view["ended_at"],
        duration=view["duration"],
        segments_total=progress["segments_total"],
        segments_done=progress["segments_done"],
        seconds_done=progress["seconds_done"],
        error_type=error.get("type"),
        error=error.get("message"),
        warnings=_WARNINGS.validate_python(view["warnings"], extra="ignore"),
    )


def failure_of(view: Mapping[str, Any]) -> Outcome:
    """Return the outcome of a job that failed or was cancelled, with the fleet's own exception where it has one."""
    if view["state"] == JobState.CANCELLED:
        return Outcome(exception=errors.JobRevoked(job=view["id"]))
    error = view["error"] or {}
    kind = getattr(errors, str(error.get("type")), None)
    is_known = isinstance(kind, type) and issubclass(kind, errors.FleetError)
    message = str(error.get("message") or "the job failed")
    return Outcome(exception=kind(message) if is_known and kind is not None else errors.FleetError(message))
