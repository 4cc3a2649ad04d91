"""Loads and runs the ledger's Lua scripts. Each is one transition, which Redis runs atomically."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any, cast

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from whisper_fleet.shared.broker.scripts import run_source, run_source_async
from whisper_fleet.shared.ledger import keys


@cache
def script(name: str) -> tuple[str, str]:
    """Return the text of a script, behind the key names and the common part, and its SHA-1."""
    folder = resources.files("whisper_fleet.shared.ledger.lua")
    names = ", ".join(f"{name} = {json.dumps(key)}" for name, key in keys.ledger_names().items())
    common, body = (folder.joinpath(f"{file}.lua").read_text() for file in ("common", name))
    source = f"local K = {{{names}}}\n{common}\n{body}"
    return source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


def read_all() -> None:
    """Read every script now, for a process that is about to fork.

    A child that is forked while a thread of its parent reads one inherits a lock of the import system that nobody
    releases, and waits for it as soon as it reads a script itself.
    """
    for file in resources.files("whisper_fleet.shared.ledger.lua").iterdir():
        if file.name.endswith(".lua") and file.name != "common.lua":
            script(file.name.removesuffix(".lua"))


def run(redis: Redis, name: str, *arguments: str | int | float) -> Any:
    """Run a script and return its answer; strings are bytes unless the client decodes them."""
    return run_source(redis, *script(name), (), *arguments)


async def run_async(redis: AsyncRedis, name: str, *arguments: str | int | float) -> Any:
    """Run a script as `run` does, without blocking an event loop."""
    source, digest = script(name)
    return await run_source_async(redis, source, digest, (), *arguments)


def text(value: bytes | str) -> str:
    """Return a string of a script's answer, whether or not the client decodes."""
    return value.decode() if isinstance(value, bytes) else value


def in_order(redis: Redis, key: str) -> list[bytes]:
    """Return the values of a hash whose fields are numbers, by their numbers."""
    fields = cast("dict[bytes, bytes]", redis.hgetall(key))
    return [value for _, value in sorted(fields.items(), key=lambda field: int(field[0]))]
