"""Which jobs a caller may see: to every other caller a job does not exist, in the very same words."""

from __future__ import annotations

from whisper_fleet.errors import JobNotFound
from whisper_fleet.http.access.caller import Caller
from whisper_fleet.http.services import HttpServices
from whisper_fleet.shared.ledger.records import JobRecord


async def visible_job(services: HttpServices, job: str, caller: Caller) -> JobRecord:
    """Return the record of a job that the caller may see; raises JobNotFound for any other id."""
    record = await services.fleet.record(job)
    if not caller.may_see(record.request.tenant):
        raise JobNotFound(job=job, days=services.settings.job_retention / 86400)
    return record
