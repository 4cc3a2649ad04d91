"""One client's wait for one job: it submits or joins it, waits, and leaves.

Called by the routes whose response is the transcript. `submit` joins the job of an earlier upload of the same bytes
with the same options by the same caller. If the client leaves and nobody else waits, the job is cancelled. An error, or
the end of this server, only lets the lease expire: the client tries again, and joins.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from whisper_fleet.errors import FleetError, JobExists, JobNotFinished, JobNotFound
from whisper_fleet.http.access.callers import Caller
from whisper_fleet.http.services import HttpServices
from whisper_fleet.http.uploads.multipart import Form
from whisper_fleet.http.uploads.store import Upload
from whisper_fleet.http.waiting.disconnects import Client
from whisper_fleet.http.waiting.periodic import repeating
from whisper_fleet.http.waiting.waiters import RENEWAL
from whisper_fleet.outcome import JobResult
from whisper_fleet.shared.connect import UNREACHABLE
from whisper_fleet.shared.http.uploads import address_of, upload_of

#: Seconds between two looks at whether the client is still there.
_LOOK = 2.0


class Disconnected(Exception):
    """The client disconnected before its answer came."""


class Attachment:
    """A client that waits for a job."""

    def __init__(self, services: HttpServices, job: str, waiter: str) -> None:
        self._services = services
        self.job = job
        self._waiter = waiter

    async def result(self, client: Client) -> JobResult:
        """Return the transcript, after waiting for it; raises the error of a job that failed, or Disconnected."""
        async with self.waiting():
            while not client.is_gone:
                with suppress(JobNotFinished):
                    return await self._services.fleet.result(self.job, timeout=_LOOK)
        raise Disconnected

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Renew the lease while the context lasts. If it ends with the error of a job, leave it: it is not joined."""
        try:
            async with repeating("a waiter", self._renew, RENEWAL):
                yield
        except FleetError:
            await self._end(may_join=False)
            raise

    async def answered(self) -> None:
        """Leave because the client has its answer; the same upload gets the same answer for a while."""
        await self._end(may_join=True)

    async def abandon(self) -> None:
        """Leave because the client has disconnected; the job is cancelled unless another client waits."""
        if await self._leave(may_join=False):
            with suppress(JobNotFound):
                await self._services.fleet.cancel(self.job)
                await self._delete_upload()

    async def _delete_upload(self) -> None:
        """Delete the file of a job that has ended now; the janitor would do it, but later."""
        with suppress(JobNotFound, *UNREACHABLE):
            record = await self._services.fleet.record(self.job)
            if (upload := upload_of(record.request.file_path)) is not None:
                await self._services.uploads.delete(upload)

    async def _end(self, *, may_join: bool) -> None:
        await self._leave(may_join=may_join)
        await self._delete_upload()

    async def _leave(self, *, may_join: bool) -> bool:
        return await self._services.waiters.leave(self.job, self._waiter, may_join=may_join)

    async def _renew(self) -> None:
        await self._services.waiters.renew(self.job, self._waiter)


async def attach(
    services: HttpServices, caller: Caller, form: Form, upload: Upload, request: dict[str, Any]
) -> Attachment:
    """Submit an upload, or join the job that an equal one has; the form keeps the upload if a job reads it."""
    waiter = uuid.uuid4().hex
    job = await services.waiters.join(_digest(caller, upload, request), str(uuid.uuid4()), waiter)
    attachment = Attachment(services, job, waiter)
    try:
        await services.quota.start(caller, job)
        is_ours = await _submitted(services, job, {**request, "file_path": address_of(upload.id)})
    except Exception:
        await services.waiters.leave(job, waiter, may_join=False)
        raise
    if is_ours:
        await services.uploads.keep_for_job(upload.id, job)
        form.keep(upload)
    return attachment


async def _submitted(services: HttpServices, job: str, request: dict[str, Any]) -> bool:
    """Submit a job; return False if it was submitted before, with another copy of the file.

    A server may have died after it chose the id, so an id that the ledger does not know yet is submitted by whoever
    comes next.
    """
    with suppress(JobExists):
        await services.fleet.submit(job=job, **request)
        return True
    return False


def _digest(caller: Caller, upload: Upload, request: dict[str, Any]) -> str:
    """Return what makes two uploads the same: the caller's key and tenant, the bytes, and the options."""
    parts = [caller.tenant, caller.key, upload.sha256, request]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


async def cancel_abandoned(services: HttpServices) -> None:
    """Cancel the jobs whose clients' servers died, and whose clients never came back."""
    for job in await services.waiters.abandoned():
        with suppress(JobNotFound):
            await services.fleet.cancel(job)
