"""The API keys as the server reads them; `whisper-fleet keys` writes them."""

from __future__ import annotations

from redis.asyncio import Redis

from whisper_fleet.shared.http import keys as http_keys
from whisper_fleet.shared.http.api_keys import ApiKey, keys_from, parts_of
from whisper_fleet.shared.ledger.scripts import text


class ApiKeys:
    """Reads keys from Redis for every request, so that a revoked key ends at once."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def exist(self) -> bool:
        """Return whether the fleet has, or ever had, a key."""
        return bool(await self._redis.exists(http_keys.API_KEYS))

    async def all(self) -> list[ApiKey]:
        """Return every key, the oldest first."""
        return keys_from(await self._redis.hgetall(http_keys.API_KEYS))

    async def find(self, token: str) -> ApiKey | None:
        """Return the valid key that a client sent; None if there is none."""
        parts = parts_of(token)
        if parts is None:
            return None
        stored = await self._redis.hget(http_keys.API_KEYS, parts[0])
        key = None if stored is None else ApiKey.from_json(text(stored))
        return key if key is not None and key.matches(parts[1]) else None
