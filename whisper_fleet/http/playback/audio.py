"""The audio of a job as a player receives it: which file, and as what type. Pure, but for looking for the file.

Only uploads are sent. The path of a job may name any file that the fleet's user may read, so sending it would show a
client files that it could only have transcribed.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path

from fastapi.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.uploads.store import UploadStore
from whisper_fleet.shared.http.uploads import upload_of
from whisper_fleet.shared.ledger.records import JobRecord

#: Endings whose type differs between machines, or that none of them knows.
_TYPES = {
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mka": "audio/x-matroska",
    ".mkv": "video/x-matroska",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".weba": "audio/webm",
}
#: Nothing that a client uploaded may run as a page of this server, whatever its type claims.
AUDIO_HEADERS = {
    "cache-control": "private, no-store",
    "content-security-policy": "default-src 'none'; sandbox",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


def audio_path(uploads: UploadStore, record: JobRecord) -> Path:
    """Return where the audio of a job is; raises ApiError 404 if the server does not have it, with the reason."""
    upload = upload_of(record.request.file_path)
    if upload is None:
        raise ApiError(404, "this job read a path or a URL: the server plays uploads only", code="not_an_upload")
    path = uploads.find(upload)
    if path is None:
        reason = "the server does not have this job's audio: it is deleted, or another server received it"
        raise ApiError(404, reason, code="audio_deleted")
    return path


def media_type(path: Path) -> str:
    """Return the type of an audio or video file by its ending; any other is sent as bytes without a meaning."""
    suffix = path.suffix.lower()
    guessed = _TYPES.get(suffix) or mimetypes.guess_type(f"file{suffix}")[0] or ""
    return guessed if guessed.startswith(("audio/", "video/")) else "application/octet-stream"


class AudioResponse(FileResponse):
    """Sends a file, or ranges of it; a range that it lacks is answered with an error object, as every error is."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, media_type=media_type(path), headers=AUDIO_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, as an ASGI application."""
        is_refused = False

        async def send_unless_refused(message: Message) -> None:
            nonlocal is_refused
            is_refused = is_refused or message.get("status", 200) >= 400
            if not is_refused:
                await send(message)

        await super().__call__(scope, receive, send_unless_refused)
        if is_refused:
            error = ApiError(416, "the file does not have the range of bytes in Range", param="Range")
            await error(scope, receive, send)
