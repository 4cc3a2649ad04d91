"""Deletes a job with all that the fleet keeps of it: its record, transcript and result in Redis, and its upload."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from whisper_fleet.errors import JobNotFound
from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.services import HttpServices
from whisper_fleet.outcome import ResultFormat
from whisper_fleet.shared.http.uploads import upload_of
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.ledger.scripts import script

#: Seconds for which a job that was running is waited for: its slots stop at their next window.
_PATIENCE_SECONDS = 15.0
_PAUSE_SECONDS = 0.1


async def delete_job(services: HttpServices, record: JobRecord) -> None:
    """Cancel a job if it has not ended, and delete it; raises ApiError 409 if its slots do not stop in time.

    Files that the job wrote where its client asked for them stay: they are the client's.
    """
    if not record.state.is_final:
        await services.fleet.cancel(record.job)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not await _is_deleted(services, record.job):
        if time.monotonic() > deadline:
            reason = f"job {record.job} is cancelled, and a GPU is still busy with it: delete it again in a while"
            raise ApiError(409, reason, retry_after=_PATIENCE_SECONDS)
        await asyncio.sleep(_PAUSE_SECONDS)
    await services.redis.delete(ResultFormat(services.settings.redis_url).key(record.job))
    upload = upload_of(record.request.file_path)
    if upload is not None and await services.uploads.is_kept_for_job(upload, record.job):
        await services.uploads.delete(upload)


async def _is_deleted(services: HttpServices, job: str) -> bool:
    source, _ = script("delete_job")
    with suppress(JobNotFound):
        return bool(await services.redis.eval(source, 0, job))
    return True
