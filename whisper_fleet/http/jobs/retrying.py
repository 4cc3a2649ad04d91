"""Submits the request of a job that has ended again, as a new job, if its audio still exists."""

from __future__ import annotations

import uuid

from whisper_fleet.errors import JobNotFinished
from whisper_fleet.http.access.caller import Caller
from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.jobs.submission import submit_job
from whisper_fleet.http.services import HttpServices
from whisper_fleet.shared.http.uploads import upload_of
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.request.parsing import as_keywords


async def retry_job(services: HttpServices, caller: Caller, record: JobRecord) -> str:
    """Return the id of a new job with the request of one that has ended.

    Raises JobNotFinished, and ApiError 409 if the audio was uploaded for that job alone and so is deleted.
    """
    if not record.state.is_final:
        raise JobNotFinished(job=record.job, state=record.state)
    upload = upload_of(record.request.file_path)
    if upload is not None and not await services.uploads.is_stored(upload):
        raise ApiError(409, "the audio of this job is deleted: upload it again", code="audio_deleted")
    job = str(uuid.uuid4())
    await services.quota.start(caller, job)
    await submit_job(services, job, as_keywords(record.request))
    return job
