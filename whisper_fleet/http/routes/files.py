"""`/v1/files`: store a file for later jobs and batches, and read the results of batches; as OpenAI's."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from whisper_fleet.http.access.callers import Reader, Submitter
from whisper_fleet.http.batches.output import output_lines
from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.files.records import (
    StoredFile,
    add_file,
    delete_file,
    file_json,
    files_of,
    find_file,
    new_file_id,
)
from whisper_fleet.http.routes.pages import Page, page_of
from whisper_fleet.http.services import HttpServices, Services
from whisper_fleet.http.uploads.multipart import received_form
from whisper_fleet.shared.audio.sources import opened
from whisper_fleet.shared.http.uploads import address_of

router = APIRouter(prefix="/v1/files", tags=["files"])

_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_LEAST_SECONDS, _MOST_SECONDS = 3600, 30 * 86400
_BLOCK = 2**18
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "The file."},
                        "purpose": {"type": "string", "enum": list(_PURPOSES)},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {"type": "integer", "description": "At most the fleet's retention."},
                    },
                }
            }
        },
    }
}


@router.post("", openapi_extra=_FORM)
async def create(request: Request, services: Services, caller: Submitter) -> dict[str, Any]:
    """Store a file. It is kept for as long as jobs are (WHISPER_FLEET_JOB_RETENTION), or for less."""
    async with received_form(request, services.uploads, files=("file",)) as form:
        upload = form.files.get("file")
        if upload is None:
            raise ApiError(400, "the form has no file", param="file", code="missing_required_parameter")
        fields = {name: values[-1] for name, values in form.fields.items()}
        now, kept = time.time(), _kept_seconds(fields, services)
        file = StoredFile(
            id=new_file_id(),
            tenant=caller.tenant,
            filename=upload.file_name,
            purpose=_purpose(fields),
            bytes=upload.size,
            created=now,
            expires=now + kept,
            upload=upload.id,
            sha256=upload.sha256,
        )
        await services.uploads.keep_for(upload.id, kept)
        await add_file(services.redis, file)
        form.keep(upload)
    return file_json(file)


def _purpose(fields: dict[str, str]) -> str:
    purpose = fields.get("purpose", "")
    if purpose not in _PURPOSES:
        raise ApiError(400, f"purpose is {purpose[:100]!r}: it must be one of {', '.join(_PURPOSES)}", param="purpose")
    return purpose


def _kept_seconds(fields: dict[str, str], services: HttpServices) -> float:
    """Return for how long a file is kept: at most for as long as the fleet keeps jobs."""
    retention = services.settings.job_retention
    seconds = fields.get("expires_after[seconds]")
    if seconds is None:
        return retention
    if fields.get("expires_after[anchor]", "created_at") != "created_at":
        raise ApiError(400, "expires_after[anchor] must be created_at", param="expires_after")
    if not re.fullmatch(r"\d{1,9}", seconds) or not _LEAST_SECONDS <= int(seconds) <= _MOST_SECONDS:
        reason = f"expires_after[seconds] must be a whole number from {_LEAST_SECONDS} to {_MOST_SECONDS}"
        raise ApiError(400, reason, param="expires_after")
    return min(float(seconds), retention)


@router.get("")
async def list_(
    services: Services,
    caller: Reader,
    purpose: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=0, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    after: Annotated[str | None, Query(max_length=100)] = None,
) -> Page:
    """List the stored files of the caller's tenant, newest first."""
    files = [file for file in await files_of(services.redis, caller.tenant) if purpose in (None, file.purpose)]
    if order == "desc":
        files.reverse()
    return page_of(files, limit, after, lambda file: file.id, file_json)


@router.get("/{file_id}")
async def get(file_id: str, services: Services, caller: Reader) -> dict[str, Any]:
    """Return what is known of a file."""
    return file_json(await find_file(services.redis, file_id, caller))


@router.delete("/{file_id}")
async def delete(file_id: str, services: Services, caller: Submitter) -> dict[str, Any]:
    """Delete a file. A job that has not read it yet fails."""
    file = await find_file(services.redis, file_id, caller)
    await delete_file(services.redis, file)
    if file.upload:
        await services.uploads.delete(file.upload)
    return {"id": file.id, "object": "file", "deleted": True}


@router.get("/{file_id}/content", response_class=Response)
async def content(file_id: str, services: Services, caller: Reader) -> Response:
    """Return the contents of a file."""
    file = await find_file(services.redis, file_id, caller)
    if file.part:
        pieces = output_lines(services, file.batch, file.part)
        return StreamingResponse(pieces, media_type="application/jsonl", headers=_named(file))
    stack = ExitStack()
    path = await asyncio.to_thread(stack.enter_context, opened(address_of(file.upload), services.settings))
    headers = {**_named(file), "content-length": str(file.bytes)}
    return StreamingResponse(_pieces(path, stack), media_type="application/octet-stream", headers=headers)


async def _pieces(path: Path, stack: ExitStack) -> AsyncIterator[bytes]:
    with stack:
        file = stack.enter_context(await asyncio.to_thread(path.open, "rb"))
        while piece := await asyncio.to_thread(file.read, _BLOCK):
            yield piece


def _named(file: StoredFile) -> dict[str, str]:
    return {"content-disposition": f"attachment; filename*=UTF-8''{quote(file.filename)}"}
