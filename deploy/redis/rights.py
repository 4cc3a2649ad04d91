"""Finds the rights that a Redis user lacks, without running anything and without the rights of an administrator."""

from __future__ import annotations

from typing import Any

from redis.exceptions import ResponseError

from redis import Redis
from whisper_fleet.deploy.redis.users import RedisUser
from whisper_fleet.shared.connect import is_forbidden

#: Arguments with which a command is accepted for a transaction, by the command's name.
_ARGUMENTS: dict[str, str] = {
    **dict.fromkeys(("ping", "info", "time"), ""),
    **dict.fromkeys(
        ("get", "mget", "del", "exists", "incr", "rpop", "llen", "hgetall", "hlen", "hvals", "zcard", "smembers"), "KEY"
    ),
    **dict.fromkeys(("set", "lpush", "rpush", "sadd", "srem", "zrem", "zscore", "hget", "hmget", "hexists"), "KEY 1"),
    **dict.fromkeys(("expire", "pexpire", "hdel", "sismember"), "KEY 1"),
    **dict.fromkeys(("setex", "hset", "hsetnx", "hincrby", "hincrbyfloat", "zadd", "zincrby"), "KEY 1 1"),
    **dict.fromkeys(("zrange", "zrangebyscore", "zrevrange", "zremrangebyscore", "zcount"), "KEY 0 0"),
    "blmove": "KEY KEY RIGHT RIGHT 1",
    "eval": "return 0",  # with spaces: see _words
    "evalsha": "0000000000000000000000000000000000000000 0",
    "publish": "CHANNEL 1",
}


def missing_rights(redis: Redis, user: RedisUser) -> list[str]:
    """Return the commands and the key patterns of `user` that Redis denies to the user of this connection.

    Redis checks rights when a command is queued in a transaction. The transaction is never executed: its connection is
    closed.
    """
    pool: Any = redis.connection_pool
    connection = pool.get_connection()
    try:
        if _is_denied(connection, "MULTI"):
            return ["multi"]
        commands = [
            name for name in user.commands if name in _ARGUMENTS and _is_denied(connection, *_words(name, user))
        ]
        known = (*user.keys, *user.reads)
        keys = [f"~{key}" for key in known if _is_denied(connection, "EXISTS", key.replace("*", "probe"))]
    finally:
        connection.disconnect()
        pool.release(connection)
    return commands + (keys if "exists" in user.commands and "exists" not in commands else [])


def _words(command: str, user: RedisUser) -> list[str]:
    if command == "eval":
        return [command, "return 0", "0"]
    key, channel = (patterns[0].replace("*", "probe") for patterns in (user.keys, user.channels))
    return [command, *_ARGUMENTS[command].replace("KEY", key).replace("CHANNEL", channel).split()]


def _is_denied(connection: Any, *words: str) -> bool:
    connection.send_command(*words)
    try:
        connection.read_response()
    except ResponseError as error:  # a Redis that is full refuses a write for that reason, which is no missing right
        return is_forbidden(error)
    return False
