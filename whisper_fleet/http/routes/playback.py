"""`/v1/jobs/{id}/audio`: the audio of a job for a player, in ranges of bytes, and an address that needs no key."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel

from whisper_fleet.http.access.callers import Reader, is_local, reader
from whisper_fleet.http.errors import ApiError, rare_errors
from whisper_fleet.http.jobs.visibility import visible_job
from whisper_fleet.http.playback import tickets
from whisper_fleet.http.playback.audio import AudioResponse, audio_path
from whisper_fleet.http.playback.tickets import TICKET_SECONDS, Ticket
from whisper_fleet.http.services import HttpServices, Services

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_BINARY = {"schema": {"type": "string", "format": "binary"}}
#: Of another type where the name of the file shows none.
_AUDIO = {"content": {"audio/*": _BINARY, "video/*": _BINARY, "application/octet-stream": _BINARY}}


class AudioLink(BaseModel):
    """An address that plays the audio of one job without an API key, for an hour."""

    url: str  # on this server
    expires_at: float  # Unix seconds


@router.post("/{job}/audio/link", status_code=201)
async def link(job: str, services: Services, caller: Reader) -> AudioLink:
    """Return an address for a media element, which cannot send an API key; 404 if the server lacks the audio."""
    audio_path(services.uploads, await visible_job(services, job, caller))
    token = await tickets.issue(services.redis, Ticket(job=job, key=caller.key))
    return AudioLink(url=f"/v1/jobs/{job}/audio?ticket={token}", expires_at=time.time() + TICKET_SECONDS)


@router.get("/{job}/audio", response_class=FileResponse, responses={200: _AUDIO, 206: _AUDIO, **rare_errors(416)})
async def audio(
    job: str,
    request: Request,
    services: Services,
    ticket: Annotated[str | None, Query(max_length=100, description="Instead of an API key: see the link.")] = None,
) -> AudioResponse:
    """Send the audio that was uploaded for a job; `Range` is supported."""
    if ticket is None:
        record = await visible_job(services, job, await reader(request, services))
    else:
        await _check_ticket(request, services, job, ticket)
        record = await services.fleet.record(job)
    return AudioResponse(audio_path(services.uploads, record))


async def _check_ticket(request: Request, services: HttpServices, job: str, token: str) -> None:
    """Raise ApiError 403 unless the ticket is for this job and valid where the request comes from."""
    ticket = await tickets.find(services.redis, token)
    if ticket is None or ticket.job != job or (ticket.key is None and not is_local(request)):
        raise ApiError(403, "this ticket is not valid, or no longer: get another link", code="invalid_ticket")
