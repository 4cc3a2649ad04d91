"""Uploads a file with tus 1.0, and goes on where it was after a lost connection.

HttpFleetClient calls it. While bytes arrive it never gives up; without progress it tries for two minutes, in which a
server starts again, and then raises ServerUnreachable.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterator
from pathlib import Path

from whisper_fleet.errors import FleetError, RequestError
from whisper_fleet.http_client.exchange import Exchange, Lost, Response
from whisper_fleet.shared.connect import pauses
from whisper_fleet.shared.errors import EmptyFile, FileMissing, NotAFile, ServerUnreachable
from whisper_fleet.shared.settings.values import host_name

#: Seconds without progress after which an upload is given up.
PATIENCE_SECONDS = 120.0
_TUS = {"tus-resumable": "1.0.0"}
_PIECE = {**_TUS, "content-type": "application/offset+octet-stream"}
_BLOCK = 2**20
#: The offset is another one; another request still writes: ask again. The others: the server is down or busy.
_TRY_AGAIN = (408, 409, 423, 429, 500, 502, 503, 504)


def upload_file(exchange: Exchange, path: Path) -> str:
    """Upload a file and return the id of the stored file; raises FleetError."""
    size = _size(path)
    name = base64.b64encode(path.name.encode(errors="replace")).decode()
    headers = {**_TUS, "upload-length": str(size), "upload-metadata": f"filename {name}"}
    address = exchange.request("POST", "/v1/uploads", headers=headers).headers["location"]
    offset, last_progress, waits = 0, time.monotonic(), pauses()
    while True:
        reason = _sent(exchange, path, address, offset, size)
        if reason is None:
            return str(address).rpartition("/")[2]
        arrived = int(exchange.request("HEAD", address, headers=_TUS).headers["upload-offset"])
        if arrived > offset:
            offset, last_progress, waits = arrived, time.monotonic(), pauses()
        if time.monotonic() - last_progress > PATIENCE_SECONDS:
            raise ServerUnreachable(server=exchange.server, reason=f"{path.name} does not arrive: {reason}")
        time.sleep(next(waits))


def _sent(exchange: Exchange, path: Path, address: str, offset: int, size: int) -> str | None:
    """Send the rest of a file; return None if all of it is there, else why the upload stopped."""
    headers = {**_PIECE, "upload-offset": str(offset), "content-length": str(size - offset)}
    try:
        response: Response = exchange.once(
            "PATCH", address, data=_pieces(path, offset, size) if size > offset else b"", headers=headers
        )
    except Lost as lost:
        return str(lost)
    if response.status in _TRY_AGAIN:
        return str(response.error.get("message", f"status {response.status}"))
    exchange.checked(response)
    return None


def _pieces(path: Path, offset: int, size: int) -> Iterator[bytes]:
    """Yield a file from `offset` on in blocks; raises FleetError if it is no longer as long as it was."""
    with path.open("rb") as file:
        file.seek(offset)
        left = size - offset
        while left > 0:
            piece = file.read(min(_BLOCK, left))
            if not piece:
                raise FleetError(f"{path} became shorter while it was uploaded: submit it again when it is complete")
            left -= len(piece)
            yield piece


def _size(path: Path) -> int:
    """Return the size of a file in bytes; raises the RequestError of what cannot be uploaded."""
    try:
        if not path.exists():
            raise FileMissing(path=path, host=host_name())
        if not path.is_file():
            raise NotAFile(path=path)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if size == 0:
        raise EmptyFile(path=path)
    return size
