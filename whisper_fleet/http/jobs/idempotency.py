"""Idempotency keys: a request that is repeated under the same key means the same job. Owner of `fleet:idempotent:*`.

The key is written before the job is submitted, with the job's id and a digest of what was asked for. If a server dies
in between, the client's next try finds the id and submits the job under it.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis

from whisper_fleet.http.errors import ApiError
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text

#: Seconds for which a key is remembered.
KEPT_SECONDS = 86400
_LONGEST_KEY = 255


async def job_for_key(redis: Redis, tenant: str, key: str | None, asked: Mapping[str, Any]) -> str:
    """Return the id that a job is to have: a new one, or that of the same request under the same key.

    Raises ApiError 422 if the key was used for another request.
    """
    job = str(uuid.uuid4())
    if key is None:
        return job
    if not 0 < len(key) <= _LONGEST_KEY:
        raise ApiError(400, f"the Idempotency-Key has {len(key)} characters, not 1 to {_LONGEST_KEY}")
    name = keys.idempotent(hashlib.sha256(json.dumps([tenant, key]).encode()).hexdigest())
    entry = json.dumps({"job": job, "asked": digest_of(asked)})
    if await redis.set(name, entry, nx=True, ex=KEPT_SECONDS):
        return job
    stored = await redis.get(name)
    known = {"job": job, "asked": digest_of(asked)} if stored is None else json.loads(text(stored))
    if known["asked"] != digest_of(asked):
        raise ApiError(422, "this Idempotency-Key was used for another request: use a new one", code="conflict")
    return str(known["job"])


def digest_of(asked: Mapping[str, Any]) -> str:
    """Return the digest of a request; the order of its fields does not count."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()
