"""Uploads that go on after a lost connection, as tus 1.0 defines them; a complete one is a stored file.

The routes call it. What has arrived is the file on disk, so the offset survives every crash; the rest is in Redis
under `fleet:resumable:*`, which this module owns, and expires a day after the last piece. One request writes at a time:
it holds a lock on the file, which ends with its process. Only the server that has the file can continue an upload.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from whisper_fleet.http.access.callers import Caller
from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.files.records import StoredFile, add_file, delete_file, find_file, new_file_id
from whisper_fleet.http.services import HttpServices
from whisper_fleet.shared.http.uploads import Uploads, new_id
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.serialization import Wire

#: Seconds after the last piece until an incomplete upload is deleted.
EXPIRY_SECONDS = 86400.0
_BLOCK = 2**18
_PURPOSE = "user_data"


class ResumableUpload(Wire):
    """An upload that was begun; its id is that of the stored file that it will be."""

    id: str
    tenant: str
    upload: str
    length: int  # bytes
    file_name: str = ""
    metadata: str = ""  # as the client sent it


def read_metadata(header: str) -> dict[str, str]:
    """Return the names and values of an Upload-Metadata header; raises ApiError. Pure."""
    found = {}
    for pair in filter(None, (part.strip() for part in header.split(","))):
        name, _, value = pair.partition(" ")
        try:
            found[name] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, ValueError):
            raise ApiError(400, f"Upload-Metadata: the value of {name[:100]!r} is not base64 of UTF-8") from None
    return found


async def begin(services: HttpServices, caller: Caller, length: int, metadata: str) -> ResumableUpload:
    """Begin an upload of so many bytes; raises ApiError if they are too many, or if the disk has no room."""
    name = read_metadata(metadata).get("filename", "")
    uploads = Uploads(services.settings)
    await asyncio.to_thread(uploads.prepare)
    if length > uploads.room():
        raise ApiError(503, "the server has no room for this file now", retry_after=60)
    upload = ResumableUpload(
        id=new_file_id(),
        tenant=caller.tenant,
        upload=new_id(name),
        length=length,
        file_name=name,
        metadata=metadata,
    )
    await _keep(services, upload)
    await asyncio.to_thread(uploads.path(upload.upload).touch, 0o600)
    if length == 0:
        await _complete(services, upload)
    return upload


async def find(services: HttpServices, upload_id: str, caller: Caller) -> tuple[ResumableUpload, Path]:
    """Return an upload that the caller began, and its file; raises ApiError 404."""
    stored = await services.redis.get(keys.resumable(upload_id))
    upload = None if stored is None else ResumableUpload.from_json(text(stored))
    path = None if upload is None else services.uploads.find(upload.upload)
    if upload is None or path is None or not caller.may_see(upload.tenant):
        raise ApiError(404, "no such upload on this server: it has expired, or another server has it")
    return upload, path


async def append(
    services: HttpServices, upload: ResumableUpload, path: Path, offset: int, pieces: AsyncIterator[bytes]
) -> int:
    """Append pieces to the file, and return its new size; what arrived before an error stays.

    Raises ApiError 409 if `offset` is not the file's size, and 423 while another request writes.
    """
    with _locked(path) as descriptor:
        size = os.fstat(descriptor).st_size
        if offset != size:
            raise ApiError(409, f"Upload-Offset is {offset}, but the server has {size} bytes", param="Upload-Offset")
        try:
            size += await _written(descriptor, pieces)
        except OSError as error:
            raise ApiError(503, "the server has no room for this file now", retry_after=60) from error
        finally:
            await _keep(services, upload)
        if size == upload.length:
            await _complete(services, upload)
    return size


async def end(services: HttpServices, upload: ResumableUpload, caller: Caller) -> None:
    """Delete an upload, and the stored file if it was complete."""
    await services.redis.delete(keys.resumable(upload.id))
    with contextlib.suppress(ApiError):
        await delete_file(services.redis, await find_file(services.redis, upload.id, caller))
    await services.uploads.delete(upload.upload)


async def _keep(services: HttpServices, upload: ResumableUpload) -> None:
    await services.redis.set(keys.resumable(upload.id), upload.to_json(), ex=int(EXPIRY_SECONDS))
    await services.uploads.keep_for(upload.upload, EXPIRY_SECONDS)


async def _complete(services: HttpServices, upload: ResumableUpload) -> None:
    """Make a stored file of an upload of which everything is there."""
    path = Uploads(services.settings).path(upload.upload)
    now, kept = time.time(), services.settings.job_retention
    file = StoredFile(
        id=upload.id,
        tenant=upload.tenant,
        filename=upload.file_name,
        purpose=_PURPOSE,
        bytes=upload.length,
        created=now,
        expires=now + kept,
        upload=upload.upload,
        sha256=await asyncio.to_thread(_digest, path),
    )
    await services.uploads.keep_for(upload.upload, kept)
    await add_file(services.redis, file)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    except BlockingIOError:
        raise ApiError(423, "another request is writing this upload: try again", code="locked") from None
    finally:
        os.close(descriptor)


async def _written(descriptor: int, pieces: AsyncIterator[bytes]) -> int:
    """Write pieces in blocks, and return their size. What is left in the block is written after an error, too."""
    block, size = bytearray(), 0
    try:
        async for piece in pieces:
            block += piece
            size += len(piece)
            if len(block) >= _BLOCK:
                full, block = block, bytearray()
                await asyncio.to_thread(_write_all, descriptor, full)
    finally:
        _write_all(descriptor, block)
    return size


def _write_all(descriptor: int, data: bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
