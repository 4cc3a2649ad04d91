"""The records of stored files in Redis. Owner of `fleet:file:*` and `fleet:files:*`.

The routes of files, resumable uploads and batches make them. A file is an upload on a server's disk, or a part of a
batch's result, which is not stored at all: it is made from the ledger when it is read.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Literal, cast

from redis.asyncio import Redis

from whisper_fleet.http.access.callers import Caller
from whisper_fleet.http.errors import ApiError
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.serialization import Wire


class StoredFile(Wire):
    """A file that a client can name by its id; moments are Unix seconds."""

    id: str
    tenant: str
    filename: str
    purpose: str
    bytes: int
    created: float
    expires: float
    upload: str = ""  # the upload that it is; empty for a part of a batch's result
    sha256: str = ""
    batch: str = ""  # the batch whose result it is
    part: Literal["", "output", "error"] = ""


def new_file_id() -> str:
    """Return a new id of a file."""
    return f"file-{secrets.token_hex(12)}"


async def add_file(redis: Redis, file: StoredFile) -> None:
    """Store the record of a file; storing it twice changes nothing."""
    milliseconds = max(1, round((file.expires - time.time()) * 1000))
    await redis.set(keys.file(file.id), file.to_json(), px=milliseconds)
    await redis.zadd(keys.files(file.tenant), {file.id: file.created})


async def find_file(redis: Redis, file_id: str, caller: Caller) -> StoredFile:
    """Return a file that the caller may see; raises ApiError 404."""
    stored = await redis.get(keys.file(file_id))
    file = None if stored is None else StoredFile.from_json(text(stored))
    if file is None or not caller.may_see(file.tenant):
        raise ApiError(404, f"No such file: {file_id[:100]}", param="id", code="not_found")
    return file


async def delete_file(redis: Redis, file: StoredFile) -> None:
    """Forget a file; its upload is for the caller to delete."""
    await redis.delete(keys.file(file.id))
    await redis.zrem(keys.files(file.tenant), file.id)


async def files_of(redis: Redis, tenant: str) -> list[StoredFile]:
    """Return the files of a tenant, oldest first; entries of files that have expired are removed."""
    ids = [text(file) for file in cast("list[bytes]", await redis.zrange(keys.files(tenant), 0, -1))]
    stored = await redis.mget([keys.file(file) for file in ids]) if ids else []
    expired = [file for file, record in zip(ids, stored, strict=True) if record is None]
    if expired:
        await redis.zrem(keys.files(tenant), *expired)
    return [StoredFile.from_json(text(record)) for record in stored if record is not None]


def file_json(file: StoredFile) -> dict[str, object]:
    """Return a file as OpenAI shows one."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created),
        "expires_at": int(file.expires),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def as_json_line(value: object) -> bytes:
    """Return a line of a JSONL file."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
