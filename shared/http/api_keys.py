"""The API keys of a fleet: who a client is, what it may do, and how much. Owner of `fleet:api_keys`.

A key is `wf_<id>_<secret>`. Redis keeps the SHA-256 of the secret, which is random and long, so that a copy of Redis
gives nobody a key. A revoked key stays in the list: a fleet that ever had a key serves nobody without one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, cast

from pydantic import Field
from redis import Redis

from whisper_fleet.shared.http import keys as http_keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.serialization import Wire

_TOKEN = re.compile(r"wf_([0-9a-f]{12})_([0-9a-f]{48})")


class Scope(StrEnum):
    """What a key allows; admin allows everything, for every tenant."""

    SUBMIT = "submit"
    READ = "read"
    ADMIN = "admin"


class KeyLimits(Wire):
    """How much a key may use; None: no limit but the fleet's own."""

    requests_per_minute: int | None = Field(default=None, ge=1)
    concurrent_jobs: int | None = Field(default=None, ge=1)  # that were submitted with the key and have not ended
    audio_hours_per_day: float | None = Field(default=None, gt=0)


class ApiKey(Wire):
    """A key as it is stored; the secret is not in it."""

    id: str
    digest: str  # SHA-256 of the secret, in hexadecimal
    tenant: str
    scopes: tuple[Scope, ...]
    created: float  # Unix seconds
    revoked: float | None = None
    limits: KeyLimits = KeyLimits()

    def matches(self, secret: str) -> bool:
        """Return whether the key is valid and this is its secret."""
        return self.revoked is None and hmac.compare_digest(self.digest, _digest(secret))


def new_key(tenant: str, scopes: tuple[Scope, ...], limits: KeyLimits, now: float) -> tuple[ApiKey, str]:
    """Return a new key, and the text that its user sends, which cannot be found out later."""
    name, secret = secrets.token_hex(6), secrets.token_hex(24)
    key = ApiKey(id=name, digest=_digest(secret), tenant=tenant, scopes=scopes, created=now, limits=limits)
    return key, f"wf_{name}_{secret}"


def parts_of(token: str) -> tuple[str, str] | None:
    """Return the id and the secret in what a client sent; None if it does not have the form of a key."""
    match = _TOKEN.fullmatch(token)
    return None if match is None else (match[1], match[2])


def keys_from(stored: Mapping[Any, Any]) -> list[ApiKey]:
    """Return the keys in the hash that holds them, the oldest first."""
    return sorted((ApiKey.from_json(text(key)) for key in stored.values()), key=lambda key: key.created)


class KeyStore:
    """The keys in Redis, for the commands; the server reads them with redis.asyncio."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def add(self, key: ApiKey) -> None:
        """Store a key, new or changed."""
        self._redis.hset(http_keys.API_KEYS, key.id, key.to_json())

    def all(self) -> list[ApiKey]:
        """Return every key, the oldest first."""
        return keys_from(cast("dict[bytes, bytes]", self._redis.hgetall(http_keys.API_KEYS)))

    def find(self, name: str) -> ApiKey | None:
        """Return the key of this id."""
        stored = cast("bytes | None", self._redis.hget(http_keys.API_KEYS, name))
        return None if stored is None else ApiKey.from_json(text(stored))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
