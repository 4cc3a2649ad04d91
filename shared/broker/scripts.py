"""The Lua scripts of the broker, by name: text and SHA-1."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import NoScriptError


@cache
def script(name: str) -> tuple[str, str]:
    """Return the text of a script, behind the part that all have in common, and its SHA-1."""
    folder = resources.files("whisper_fleet.shared.broker.lua")
    text = "\n".join(folder.joinpath(f"{part}.lua").read_text() for part in ("common", name))
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def run(redis: Redis, name: str, keys: list[str], *arguments: str | int | float) -> Any:
    """Run a script and return its reply."""
    return run_source(redis, *script(name), keys, *arguments)


def run_source(redis: Redis, source: str, digest: str, keys: Sequence[str], *arguments: str | int | float) -> Any:
    """Run a script by its SHA-1, and by its text if Redis does not know it yet; return its reply."""
    try:
        return redis.evalsha(digest, len(keys), *keys, *arguments)
    except NoScriptError:
        return redis.eval(source, len(keys), *keys, *arguments)


async def run_source_async(
    redis: AsyncRedis, source: str, digest: str, keys: Sequence[str], *arguments: str | int | float
) -> Any:
    """Run a script as `run_source` does, without blocking an event loop."""
    try:
        return await redis.evalsha(digest, len(keys), *keys, *arguments)
    except NoScriptError:
        return await redis.eval(source, len(keys), *keys, *arguments)
