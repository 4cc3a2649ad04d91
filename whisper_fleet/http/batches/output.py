"""The result of a batch: one line per request, made from the ledger whenever it is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal

from pydantic import BaseModel

from whisper_fleet.errors import JobRevoked
from whisper_fleet.http.batches.lines import Line, job_of, options_of
from whisper_fleet.http.batches.records import Batch, BatchStore
from whisper_fleet.http.errors import ApiError, api_error
from whisper_fleet.http.files.records import as_json_line
from whisper_fleet.http.openai.responses import body_of
from whisper_fleet.http.services import HttpServices
from whisper_fleet.outcome import Outcome, ResultFormat

Part = Literal["output", "error"]
_PAGE = 100


async def output_lines(services: HttpServices, batch_id: str, part: Part) -> AsyncIterator[bytes]:
    """Yield the lines of one of a batch's two files: what succeeded, or what did not."""
    store, results = BatchStore(services.redis), ResultFormat(services.settings.redis_url)
    batch = await store.find(batch_id)
    for first in range(0, batch.total, _PAGE):
        numbers = range(first, min(first + _PAGE, batch.total))
        lines = await store.lines(batch_id, numbers)
        jobs = [job_of(batch_id, number) for number in numbers]
        stored = await services.redis.mget([results.key(job) for job in jobs])
        for line, job, result in zip(lines, jobs, stored, strict=True):
            outcome = results.outcome(job, result)
            succeeded = outcome is not None and outcome.succeeded and line.error is None
            if succeeded == (part == "output"):
                yield as_json_line(_line(services, batch, line, job, outcome))


def _line(services: HttpServices, batch: Batch, line: Line, job: str, outcome: Outcome | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": f"batch_req_{job.replace('-', '')}", "custom_id": line.custom_id}
    if line.error is not None:
        return {**shown, "response": _response(line.status, job, line.error), "error": None}
    if outcome is None or (batch.ending and isinstance(outcome.exception, JobRevoked)):
        return {**shown, "response": None, "error": _without_outcome(batch)}
    if not outcome.succeeded:
        error = api_error(outcome.exception or RuntimeError())
        error = ApiError(409, str(outcome.exception)) if error.status == 500 else error
        return {**shown, "response": _response(error.status, job, error.body()), "error": None}
    options = options_of(line.body, services.settings)
    body = body_of(outcome.result, options, "transcribe")
    shape = body.model_dump(exclude_none=True) if isinstance(body, BaseModel) else body
    return {**shown, "response": _response(200, job, shape), "error": None}


def _response(status: int, job: str, body: Any) -> dict[str, Any]:
    return {"status_code": status, "request_id": job, "body": body}


def _without_outcome(batch: Batch) -> dict[str, str]:
    if batch.ending == "expired":
        return {"code": "batch_expired", "message": "This request could not be executed before the batch expired."}
    if batch.ending == "cancelled":
        return {"code": "batch_cancelled", "message": "The batch was cancelled before this request was executed."}
    return {"code": "result_missing", "message": "The job of this request was deleted, or its result has expired."}
