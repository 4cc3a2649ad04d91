"""Ways in which a Redis refuses commands while a context lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from redis import Redis


@contextmanager
def full(redis: Redis) -> Iterator[None]:
    """Redis has no memory for another key."""
    redis.config_set("maxmemory", 1)
    yield
    redis.config_set("maxmemory", 0)


@contextmanager
def disk_full(redis: Redis) -> Iterator[None]:
    """Redis could not write its last snapshot, and refuses changes that it could not save."""
    where = {_text(name): _text(value) for name, value in cast("dict[Any, Any]", redis.config_get("*d*")).items()}
    snapshot = Path(where["dir"]) / where["dbfilename"]
    snapshot.unlink(missing_ok=True)
    snapshot.mkdir()
    redis.config_set("save", "1 1")
    redis.bgsave()
    yield
    snapshot.rmdir()
    redis.config_set("save", "")


@contextmanager
def replica(redis: Redis) -> Iterator[None]:
    """Redis is the replica of a server that is down."""
    _command(redis, "REPLICAOF", "127.0.0.1", "1")
    yield
    _command(redis, "REPLICAOF", "NO", "ONE")


@contextmanager
def forbidden(redis: Redis) -> Iterator[None]:
    """The user may write nothing."""
    _command(redis, "ACL", "SETUSER", "default", "-@write")
    yield
    _command(redis, "ACL", "SETUSER", "default", "+@all")


def _command(redis: Redis, *words: str) -> None:
    cast("Any", redis).execute_command(*words)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
