"""`GET /internal/uploads/{id}`: a file for intake and GPU nodes on other hosts. Its id is the right to read it."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import FileResponse

from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.services import Services
from whisper_fleet.shared.audio.sources.uploads import INTERNAL_PATH

router = APIRouter(include_in_schema=False)


@router.get(INTERNAL_PATH + "/{upload}")
async def upload(upload: str, services: Services) -> FileResponse:
    """Send an upload that is on this server's disk."""
    path = services.uploads.find(upload)
    if path is None:
        raise ApiError(404, "no such upload")
    return FileResponse(path, media_type="application/octet-stream")
