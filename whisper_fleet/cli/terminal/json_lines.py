"""Jobs as JSON for programs: one object per line, with the same names in every command. Pure, except for printing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from whisper_fleet.outcome import Outcome
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.wire import JobProgress

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs: one object per line.")


def print_line(value: Mapping[str, Any]) -> None:
    """Print an object on one line, as ASCII: no character of a name or a text reaches the terminal as it is."""
    click.echo(json.dumps(value))


def job_fields(record: JobRecord, progress: JobProgress) -> dict[str, Any]:
    """Return what is known about a job; moments are ISO 8601 in UTC, lengths are seconds."""
    return {
        "job": record.job,
        "file": record.request.file_path,
        "state": record.state.value,
        "stage": progress.stage,
        "seconds_done": progress.seconds_done,
        "seconds_total": progress.seconds_total,
        "eta": None if record.state.is_final else progress.eta,
        "message": None if record.error else progress.message,
        "error_type": record.error_type,
        "error": record.error,
        "model": record.request.model_name,
        "language": record.request.language or record.language,
        "accepted": _moment(record.accepted),
        "started": _moment(record.started),
        "ended": _moment(record.ended),
    }


def outcome_fields(job: str, name: str, outcome: Outcome) -> dict[str, Any]:
    """Return how a job ended: with its result, or with its error."""
    fields = {"job": job, "file": name, "state": outcome.state.value}
    return {**fields, "result": outcome.data} if outcome.succeeded else {**fields, "error": outcome.error}


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
