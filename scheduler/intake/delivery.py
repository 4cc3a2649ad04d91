"""What becomes of a finished transcript: post-processing, files, the result for the client.

The transcript is the answer to the client. What cannot be done with it beyond that is reported next to it, in
`output_errors`, and never costs the client the transcript.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from celery import states

from whisper_fleet.scheduler.intake.assembly import merge, result_of
from whisper_fleet.scheduler.intake.outputs import output_place
from whisper_fleet.scheduler.intake.postprocess import JobContext, post_process
from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared import tracing
from whisper_fleet.shared.errors import FleetError, OutputNotWritable
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.transcript import Transcript
from whisper_fleet.shared.wire import TranscribeRequest


def assembled(fleet: Services, record: JobRecord) -> dict[str, Any]:
    """Return the result of a job whose segments are all transcribed, after writing its files."""
    with _no_cycle_search():
        plans, results = fleet.ledger.plans(record.job), fleet.ledger.results(record.job)
        merged = merge(plans, results)
    context = JobContext(
        job=record.job, request=record.request, duration=record.duration or 0.0, settings=fleet.settings
    )
    errors: list[str] = []
    transcript = post_process(merged, context, errors)
    files = write_files(record.request, transcript, fleet.settings, errors)
    return _with_errors(result_of(record, transcript, results, files, time.time()), errors)


def delivered_again(fleet: Services, record: JobRecord) -> dict[str, Any]:
    """Return the result of a job that is done, after writing its files again; raises JobNotFound if it has expired."""
    backend: Any = fleet.app.backend
    meta = backend.get_task_meta(record.job)
    if meta["status"] != states.SUCCESS:
        if not fleet.ledger.results(record.job):
            raise fleet.ledger.not_found(record.job)
        return assembled(fleet, record)
    result: dict[str, Any] = meta["result"]
    if record.request.output_path is None:
        return result
    errors: list[str] = []
    transcript = Transcript.model_validate(result, extra="ignore")
    files = write_files(record.request, transcript, fleet.settings, errors)
    before = {name: value for name, value in result.items() if name != "output_errors"}
    again = _with_errors({**before, "output_files": files}, errors)
    if again != result:  # Celery itself never replaces the result of a task that succeeded
        backend.set(backend.get_key_for_task(record.job), backend.encode({**meta, "result": again}))
    return again


def write_files(request: TranscribeRequest, transcript: Transcript, settings: Settings, errors: list[str]) -> list[str]:
    """Write the files that a request asks for, and return their paths; append to `errors` what cannot be written."""
    target = output_place(request, settings)
    if target is None:
        return []
    failures: list[OutputNotWritable] = []
    try:
        with tracing.span("write files"):
            files = target.write(transcript, failures)
    except FleetError as error:
        files, failures = [], []
        errors.append(str(error))
    errors.extend(dict.fromkeys(str(failure) for failure in failures))
    return files


@contextmanager
def _no_cycle_search() -> Iterator[None]:
    """Pause the search for reference cycles while many values are made, of which none is in a cycle.

    The words of ten hours are 100,000 values, and the search takes two thirds of the time to read and merge them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _with_errors(result: dict[str, Any], errors: Sequence[str]) -> dict[str, Any]:
    """Return a result with what went wrong after the transcription; without such errors it stays as it is."""
    if not errors:
        return result
    before = {}
    for name, value in result.items():
        before[name] = value
        if name == "output_files":
            before["output_errors"] = list(errors)
    return before
