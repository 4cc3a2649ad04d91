"""Loads the ledger's Lua scripts and runs them: each is one transition, atomic in Redis."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

from whisper_fleet.shared.ledger import keys


@cache
def script(name: str) -> tuple[str, str]:
    """The text of a script, with the key names and what all of them share in front, and its SHA-1."""
    folder = resources.files("whisper_fleet.shared.ledger.lua")
    names = ", ".join(f"{name} = {json.dumps(key)}" for name, key in keys.ledger_names().items())
    common, own = (folder.joinpath(f"{file}.lua").read_text() for file in ("common", name))
    whole = f"local K = {{{names}}}\n{common}\n{own}"
    return whole, hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest()


def run(redis: Redis, name: str, *arguments: str | int | float) -> Any:
    """What the script answers; strings come as bytes unless the client decodes them."""
    whole, digest = script(name)
    try:
        return redis.evalsha(digest, 0, *arguments)
    except NoScriptError:
        return redis.eval(whole, 0, *arguments)


def text(value: bytes | str) -> str:
    """A string of a script's answer, whether or not the client decodes."""
    return value.decode() if isinstance(value, bytes) else value
