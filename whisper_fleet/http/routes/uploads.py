"""`/v1/uploads`: resumable uploads, with every client of tus 1.0. A complete one is a stored file of the same id."""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from whisper_fleet.http.access.callers import Submitter
from whisper_fleet.http.errors import ApiError, rare_errors
from whisper_fleet.http.services import Services
from whisper_fleet.http.uploads import resumable
from whisper_fleet.http.uploads.body import body_of
from whisper_fleet.http.uploads.store import too_large

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

_VERSION = "1.0.0"
_TUS = {"tus-resumable": _VERSION}
_PIECE = "application/offset+octet-stream"
_Version = Annotated[str | None, Header(description=f"Must be {_VERSION}.")]


@router.options("", status_code=204, response_class=Response)
async def options(services: Services, _: Submitter) -> Response:
    """Return what the server can do, in headers."""
    limit = str(services.uploads.limit)
    can = {"tus-version": _VERSION, "tus-extension": "creation,expiration,termination", "tus-max-size": limit}
    return Response(status_code=204, headers=_TUS | can)


@router.post("", status_code=201, response_class=Response, responses=rare_errors(412))
async def create(
    services: Services,
    caller: Submitter,
    tus_resumable: _Version = None,
    upload_length: Annotated[str | None, Header(description="Bytes of the file.")] = None,
    upload_metadata: Annotated[str, Header(max_length=4096, description="`filename`, in base64.")] = "",
) -> Response:
    """Begin an upload; `Location` is its address, and the last part of that is its id."""
    _check_version(tus_resumable)
    length = _number("Upload-Length", upload_length)
    if length > services.uploads.limit:
        raise too_large(services.uploads.limit)
    upload = await resumable.begin(services, caller, length, upload_metadata)
    headers = {"location": f"/v1/uploads/{upload.id}", "upload-expires": _expiry(), "upload-offset": "0"}
    return Response(status_code=201, headers=_TUS | headers)


@router.head("/{upload_id}", response_class=Response)
async def head(upload_id: str, services: Services, caller: Submitter) -> Response:
    """Return how many bytes have arrived, in `Upload-Offset`."""
    upload, path = await resumable.find(services, upload_id, caller)
    headers = {
        "upload-offset": str(path.stat().st_size),
        "upload-length": str(upload.length),
        "cache-control": "no-store",
        **({"upload-metadata": upload.metadata} if upload.metadata else {}),
    }
    return Response(headers=_TUS | headers)


@router.patch(
    "/{upload_id}",
    status_code=204,
    response_class=Response,
    responses=rare_errors(412, 423),
    openapi_extra={
        "requestBody": {"required": True, "content": {_PIECE: {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def patch(
    upload_id: str,
    request: Request,
    services: Services,
    caller: Submitter,
    tus_resumable: _Version = None,
    upload_offset: Annotated[str | None, Header(description="Bytes that have arrived before.")] = None,
) -> Response:
    """Append a piece. What arrives before the connection is lost stays."""
    _check_version(tus_resumable)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _PIECE:
        raise ApiError(415, f"send the piece as {_PIECE}")
    offset = _number("Upload-Offset", upload_offset)
    upload, path = await resumable.find(services, upload_id, caller)
    pieces = body_of(request, max(0, upload.length - offset))
    size = await resumable.append(services, upload, path, offset, pieces)
    return Response(status_code=204, headers=_TUS | {"upload-offset": str(size), "upload-expires": _expiry()})


@router.delete("/{upload_id}", status_code=204, response_class=Response)
async def delete(upload_id: str, services: Services, caller: Submitter) -> Response:
    """Delete an upload, complete or not."""
    upload, _ = await resumable.find(services, upload_id, caller)
    await resumable.end(services, upload, caller)
    return Response(status_code=204, headers=_TUS)


def _check_version(version: str | None) -> None:
    if version != _VERSION:
        error = ApiError(412, f"Tus-Resumable must be {_VERSION}")
        error.headers["tus-version"] = _VERSION
        raise error


def _number(name: str, value: str | None) -> int:
    if value is None or not re.fullmatch(r"[0-9]{1,15}", value):
        raise ApiError(400, f"{name} must be a number of bytes", param=name)
    return int(value)


def _expiry() -> str:
    return formatdate(time.time() + resumable.EXPIRY_SECONDS, usegmt=True)
