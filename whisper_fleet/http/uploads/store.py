"""The files of uploads on this server, and what keeps each of them. Owner of `fleet:upload:*`.

Called by the routes that receive files. A file whose keeper is lost is deleted by its host's janitor, so a route that
dies in the middle leaves nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from redis.asyncio import Redis

from whisper_fleet.http.errors import ApiError
from whisper_fleet.shared.http.upload_keepers import RECEIVING_LEASE
from whisper_fleet.shared.http.uploads import Uploads, is_id, new_id
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.units import readable_bytes

#: Bytes that are collected before they are written, by a thread.
_BLOCK = 2**18
#: Seconds after which a job's upload is let go of even if nobody saw the job's end: its host may be gone for good.
_LONGEST_JOB = 30 * 86400


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file that was received completely."""

    id: str
    file_name: str  # as the client named it; of no use as a path
    size: int  # bytes
    sha256: str


class UploadStore:
    """Writes uploads, and decides until when each is kept."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._uploads = Uploads(settings)
        self._redis = redis
        self._settings = settings

    @property
    def limit(self) -> int:
        """The maximum size of an upload in bytes."""
        return min(self._settings.http_max_upload_bytes, self._settings.max_file_bytes)

    def find(self, upload: str) -> Path | None:
        """Return the path of an upload that is on this server's disk; None for any other name."""
        path = self._uploads.path(upload) if is_id(upload) else None
        return path if path is not None and path.is_file() else None

    @asynccontextmanager
    async def receiving(self, file_name: str) -> AsyncIterator[Incoming]:
        """Provide a file to write an upload to; it is deleted if the context ends with an error."""
        upload = new_id(file_name)
        await self.keep_receiving(upload)
        await asyncio.to_thread(self._uploads.prepare)
        path = self._uploads.path(upload)
        file = await asyncio.to_thread(_created, path)
        try:
            yield Incoming(upload, file_name, file, min(self.limit, self._uploads.room()), self.limit)
        except BaseException:
            file.close()
            await self.delete(upload)
            raise
        file.close()

    async def keep_receiving(self, upload: str) -> None:
        """Begin or renew the lease of an upload that is being received."""
        await self.keep_for(upload, RECEIVING_LEASE)

    async def keep_for(self, upload: str, seconds: float) -> None:
        """Keep an upload for so long from now on, whether or not it was kept before."""
        await self._redis.set(keys.upload(upload), "", px=max(1, round(seconds * 1000)))

    async def keep_for_job(self, upload: str, job: str) -> None:
        """Keep an upload until a job that is in the ledger has ended."""
        await self._redis.set(keys.upload(upload), job, ex=_LONGEST_JOB)

    async def is_kept_for_job(self, upload: str, job: str) -> bool:
        """Return whether an upload is kept for this job alone, and not as a stored file."""
        keeper = await self._redis.get(keys.upload(upload))
        return keeper is not None and text(keeper) == job

    async def is_stored(self, upload: str) -> bool:
        """Return whether an upload is kept as a stored file, which jobs can read again."""
        keeper = await self._redis.get(keys.upload(upload))
        return keeper is not None and not text(keeper)

    async def delete(self, upload: str) -> None:
        """Delete an upload: its file if that is here, and its keeper, so that the janitor of its host deletes it."""
        await asyncio.to_thread(self._uploads.delete, upload)
        await self._redis.delete(keys.upload(upload))


class Incoming:
    """An upload while it is written; memory holds one block of it."""

    def __init__(self, upload: str, file_name: str, file: BinaryIO, room: int, limit: int) -> None:
        self.upload = upload
        self._file_name, self._file = file_name, file
        self._room, self._limit = room, limit
        self._block = bytearray()
        self._size = 0
        self._sha256 = hashlib.sha256()

    async def write(self, data: bytes) -> None:
        """Append bytes; raises ApiError 413 above the limit, and 503 if the disk is full."""
        self._size += len(data)
        if self._size > self._limit:
            raise too_large(self._limit)
        if self._size > self._room:
            raise ApiError(503, "the server has no room for this file now", retry_after=60)
        self._sha256.update(data)
        self._block += data
        if len(self._block) >= _BLOCK:
            await self._flush()

    async def finish(self) -> Upload:
        """Write what is left and return the upload."""
        await self._flush()
        return Upload(id=self.upload, file_name=self._file_name, size=self._size, sha256=self._sha256.hexdigest())

    async def _flush(self) -> None:
        block, self._block = self._block, bytearray()
        try:
            await asyncio.to_thread(_written, self._file, block)
        except OSError as error:
            raise ApiError(503, "the server has no room for this file now", retry_after=60) from error


def too_large(limit: int) -> ApiError:
    """Return the error for an upload above the limit."""
    return ApiError(413, f"the file is larger than {readable_bytes(limit)}, the most that is accepted", param="file")


def _created(path: Path) -> BinaryIO:
    path.touch(mode=0o600)
    return path.open("wb")


def _written(file: BinaryIO, block: bytearray) -> None:
    file.write(block)
    file.flush()
