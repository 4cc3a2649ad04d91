"""`/v1/jobs`: submit a file by upload, address or stored file, follow it, read its transcript, cancel and delete it."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from whisper_fleet.errors import JobNotFinished
from whisper_fleet.http.access.callers import Caller, Reader, Submitter
from whisper_fleet.http.errors import ApiError, rare_errors
from whisper_fleet.http.events import EventStream
from whisper_fleet.http.files.records import add_file, delete_file, find_file
from whisper_fleet.http.jobs.deletion import delete_job
from whisper_fleet.http.jobs.estimates import Estimate
from whisper_fleet.http.jobs.events import job_events
from whisper_fleet.http.jobs.idempotency import job_for_key
from whisper_fleet.http.jobs.listing import JobFilter, Position, list_jobs, read_labels
from whisper_fleet.http.jobs.requests import FILE_ID, FILE_NAME_LABEL, KEEP_FILE, fields_as_values, job_keywords
from whisper_fleet.http.jobs.retrying import retry_job
from whisper_fleet.http.jobs.schema import SUBMISSION
from whisper_fleet.http.jobs.submission import submit_job
from whisper_fleet.http.jobs.views import DeletedJob, JobList, JobView, job_view
from whisper_fleet.http.jobs.visibility import visible_job
from whisper_fleet.http.services import HttpServices, Services
from whisper_fleet.http.uploads.body import body_of
from whisper_fleet.http.uploads.multipart import received_form
from whisper_fleet.shared.formats import WRITERS
from whisper_fleet.shared.formats.layout import SubtitleLayout
from whisper_fleet.shared.http.uploads import address_of
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.request.values import read_labels as read_labels_of_request
from whisper_fleet.shared.transcript import Transcript
from whisper_fleet.shared.wire import JobState

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_BODY_BYTES = 2**20
#: Seconds for which a file that ends with its job can still be named.
_REPEAT_SECONDS = 3600.0
_MEDIA_TYPES = {"json": "application/json", "vtt": "text/vtt", "tsv": "text/tab-separated-values"}


@router.post("", status_code=201, openapi_extra=SUBMISSION, responses=rare_errors(422))
async def create(
    request: Request,
    response: Response,
    services: Services,
    caller: Submitter,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> JobView:
    """Submit a job: an upload as a form, or JSON that names a URL, a path or a stored file."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        job = await _create_from_json(request, services, caller, idempotency_key)
    else:
        job = await _create_from_form(request, services, caller, idempotency_key)
    response.headers["location"] = f"/v1/jobs/{job}"
    return await _view(services, await services.fleet.record(job))


async def _create_from_json(request: Request, services: HttpServices, caller: Caller, key: str | None) -> str:
    body = b"".join([piece async for piece in body_of(request, _BODY_BYTES)])
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is not JSON") from None
    if not isinstance(given, dict):
        raise ApiError(400, "the body is no JSON object")
    keywords = job_keywords(given, caller, services.settings)
    file_id, keeps_file = keywords.pop(FILE_ID, None), keywords.pop(KEEP_FILE, True)
    if file_id is not None:
        return await _create_from_file(services, caller, key, keywords, str(file_id), keeps_file=keeps_file)
    if keywords.get("file_path") is None:
        reason = f"name the file: file_path is a URL or a path, {FILE_ID} a stored file; or send it as a form"
        raise ApiError(400, reason, param="file_path", code="missing_required_parameter")
    job = await job_for_key(services.redis, caller.tenant, key, keywords)
    await services.quota.start(caller, job)
    await submit_job(services, job, keywords)
    return job


async def _create_from_file(
    services: HttpServices, caller: Caller, key: str | None, keywords: dict[str, Any], file_id: str, *, keeps_file: Any
) -> str:
    """Submit a stored file. The same bytes are the same request, also if they were uploaded again."""
    if not isinstance(keeps_file, bool):
        raise ApiError(400, f"{KEEP_FILE} must be true or false", param=KEEP_FILE)
    if keywords.get("file_path") is not None:
        raise ApiError(400, f"name one file: {FILE_ID} or file_path", param="file_path")
    file = await find_file(services.redis, file_id, caller)
    keywords["labels"] = _named(keywords, file.filename)
    job = await job_for_key(services.redis, caller.tenant, key, {**keywords, "sha256": file.sha256})
    await services.quota.start(caller, job)
    is_jobs_file = await submit_job(services, job, {**keywords, "file_path": address_of(file.upload)})
    if not keeps_file and not is_jobs_file:  # the job has another copy
        await delete_file(services.redis, file)
        await services.uploads.delete(file.upload)
    elif not keeps_file:
        await services.uploads.keep_for_job(file.upload, job)
        # A client that lost the response submits again, and finds the file for an hour.
        await add_file(
            services.redis, file.model_copy(update={"expires": min(file.expires, time.time() + _REPEAT_SECONDS)})
        )
    return job


async def _create_from_form(request: Request, services: HttpServices, caller: Caller, key: str | None) -> str:
    async with received_form(request, services.uploads, files=("file",)) as form:
        upload = form.files.get("file")
        if upload is None:
            raise ApiError(400, "the form has no file", param="file", code="missing_required_parameter")
        keywords = job_keywords(fields_as_values(form.fields), caller, services.settings)
        if keywords.keys() & {FILE_ID, "file_path"}:
            raise ApiError(400, "the form has a file, and names another one", param="file_path")
        keywords["labels"] = _named(keywords, upload.file_name)
        job = await job_for_key(services.redis, caller.tenant, key, {**keywords, "sha256": upload.sha256})
        await services.quota.start(caller, job)
        if await submit_job(services, job, {**keywords, "file_path": address_of(upload.id)}):
            await services.uploads.keep_for_job(upload.id, job)
            form.keep(upload)
    return job


def _named(keywords: dict[str, Any], file_name: str) -> dict[str, str]:
    """Return the labels with the name of the client's file, unless the client chose another."""
    labels = read_labels_of_request(keywords.get("labels") or {})
    return {FILE_NAME_LABEL: file_name[:512], **labels} if file_name else labels


@router.get("")
async def list_(
    services: Services,
    caller: Reader,
    state: Annotated[list[JobState] | None, Query(description="Only jobs in these states.")] = None,
    label: Annotated[list[str] | None, Query(description="Only jobs with these labels, each as name:text.")] = None,
    after: Annotated[float | None, Query(ge=0, description="Submitted at this Unix time or later.")] = None,
    before: Annotated[float | None, Query(ge=0, description="Submitted at this Unix time or earlier.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=1000, description="`next_cursor` of the page before.")] = None,
) -> JobList:
    """List jobs, newest first. A page may hold fewer jobs than `limit` although more follow: see `has_more`."""
    wanted = JobFilter(states=frozenset(state or ()), labels=read_labels(label or ()), after=after, before=before)
    start = None if cursor is None else Position.parse(cursor)
    records, end = await list_jobs(services.redis, caller, wanted, limit, start)
    return JobList(
        data=[await _view(services, record) for record in records],
        has_more=end is not None,
        next_cursor=None if end is None else str(end),
    )


@router.get("/estimate")
async def estimated(
    services: Services,
    _: Reader,
    seconds: Annotated[float, Query(ge=0, le=1e8, description="Length of the audio.")] = 0.0,
    priority: Annotated[int, Query(ge=0, le=9)] = 5,
) -> Estimate:
    """Estimate how long a job would wait and take, before it is submitted."""
    return await services.estimator.estimate(audio_seconds=seconds, priority=priority)


@router.get("/{job}")
async def get(job: str, services: Services, caller: Reader) -> JobView:
    """Return a job with its progress and its estimated time."""
    return await _view(services, await visible_job(services, job, caller))


@router.get("/{job}/transcript", response_class=Response)
async def transcript(
    job: str, services: Services, caller: Reader, format: Literal["json", "txt", "srt", "vtt", "tsv"] = "json"
) -> Response:
    """Return the transcript of a job that is done, in one of the fleet's formats."""
    record = await visible_job(services, job, caller)
    outcome = await services.fleet.outcome(job)
    if outcome is None:
        if record.state in (JobState.FAILED, JobState.CANCELLED):  # its client is about to be answered
            raise ApiError(409, f"job {job} is {record.state}: {record.error}", code=f"job_{record.state}")
        raise JobNotFinished(job=job, state=record.state)
    if outcome.data is None:
        raise ApiError(409, f"job {job} is {outcome.state}: {outcome.error}", code=f"job_{outcome.state}")
    if format == "json":
        return JSONResponse(outcome.data)
    request = record.request
    layout = SubtitleLayout(
        max_line_width=request.max_line_width,
        max_line_count=request.max_line_count,
        max_words_per_line=request.max_words_per_line,
        highlight_words=request.highlight_words,
    )
    written = WRITERS[format](Transcript.model_validate(outcome.data, extra="ignore"), layout)
    return PlainTextResponse(written, media_type=_MEDIA_TYPES.get(format, "text/plain"))


@router.get("/{job}/events", response_class=Response)
async def events(
    job: str, services: Services, caller: Reader, last_event_id: Annotated[str | None, Header(max_length=100)] = None
) -> Response:
    """Send progress and text as server-sent events until the job has ended; `Last-Event-ID` resumes."""
    await visible_job(services, job, caller)
    return EventStream(job_events(services, job, last_event_id))


@router.post("/{job}/cancel")
async def cancel(job: str, services: Services, caller: Submitter) -> JobView:
    """Stop a job at its next window; a job that has ended stays as it is."""
    await visible_job(services, job, caller)
    await services.fleet.cancel(job)
    return await _view(services, await services.fleet.record(job))


@router.post("/{job}/retry", status_code=201)
async def retry(job: str, response: Response, services: Services, caller: Submitter) -> JobView:
    """Submit the request of a job that has ended again, and return the new job."""
    new = await retry_job(services, caller, await visible_job(services, job, caller))
    response.headers["location"] = f"/v1/jobs/{new}"
    return await _view(services, await services.fleet.record(new))


@router.delete("/{job}")
async def delete(job: str, services: Services, caller: Submitter) -> DeletedJob:
    """Cancel a job if it runs, and delete its record, its transcript and its upload."""
    await delete_job(services, await visible_job(services, job, caller))
    return DeletedJob(id=job)


async def _view(services: HttpServices, record: JobRecord) -> JobView:
    progress = await services.fleet.status(record.job)
    return job_view(record, progress)
