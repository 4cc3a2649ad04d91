"""The Redis users of a fleet, as lines of an ACL file. Pure.

The commands and keys are those that a whole job, a rejected job, a cancelled job, a dead letter, a chord, Flower and
the metrics use; tests/integration/test_redis_users.py fails if one is missing, and if one is no longer used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

#: What every connection begins with, and the transactions of Celery.
_SESSION = ("ping", "auth", "select", "info", "multi", "exec")
_LIBRARY = ("hello",)
_SUBSCRIPTIONS = ("subscribe", "unsubscribe", "psubscribe", "punsubscribe")

_QUEUES = ("transcribe*", "assemble*", "scheduler*", "gpu.*")
_CELERY_KEYS = ("_kombu.binding*", "unacked*", "*.celery.pidbox*")
_RESULTS = "celery-task-meta-*"
#: What Celery counts the members of a chord in.
_CHORDS = "celery-taskset-meta-*"
_BROADCASTS = ("/{database}.celery.pidbox", "/{database}.celeryev/*")


@dataclass(frozen=True, kw_only=True)
class RedisUser:
    """A user: the patterns of keys and of channels that it may use, and the commands."""

    name: str
    purpose: str
    keys: tuple[str, ...]  # that it reads and writes
    channels: tuple[str, ...]
    commands: tuple[str, ...]
    sends: bool = False  # to the queues of other services, too
    reads: tuple[str, ...] = ()  # keys that it only reads

    def line(
        self, password: str, database: int = 0, queues: Sequence[str] = (), *, has_read_rights: bool = True
    ) -> str:
        """Return the user as a line of an ACL file, with the SHA-256 of the password in place of the password.

        `queues` are those of other services, in which callbacks, chains and chords continue. Before version 7, Redis
        has no right only to read a key: there, the user may also write what it reads. Celery's broadcast channels bear
        the number of the database. It cannot be a wildcard: Redis allows a subscription to a pattern only if the very
        same pattern is allowed.
        """
        digest = hashlib.sha256(password.encode()).hexdigest()
        others = [f"{queue}*" for queue in queues] if self.sends else []
        only_read = "%R~" if has_read_rights else "~"
        patterns = [f"~{pattern}" for pattern in (*self.keys, *others)]
        keys = " ".join([*patterns, *(f"{only_read}{pattern}" for pattern in self.reads)])
        channels = " ".join(f"&{pattern.format(database=database)}" for pattern in self.channels)
        commands = " ".join(f"+{command}" for command in self.commands)
        return f"user {self.name} on #{digest} resetkeys {keys} resetchannels {channels} -@all {commands}"


FLEET = RedisUser(
    name="fleet",
    purpose="beat, scheduler, intake and GPU nodes",
    sends=True,
    keys=("fleet:*", _RESULTS, _CHORDS, *_CELERY_KEYS, *_QUEUES),
    channels=("fleet:*", _RESULTS, *_BROADCASTS),
    commands=(
        *_SESSION,
        *_LIBRARY,
        *_SUBSCRIPTIONS,
        "publish",
        *("eval", "evalsha", "script|load", "script|exists", "time"),
        *("get", "mget", "set", "setex", "del", "exists", "expire", "pexpire", "incr"),
        *("hget", "hmget", "hgetall", "hexists", "hlen", "hvals", "hset", "hsetnx", "hdel", "hincrby", "hincrbyfloat"),
        *("zadd", "zrem", "zrange", "zrangebyscore", "zrevrange", "zcard", "zscore", "zincrby", "zremrangebyscore"),
        *("sadd", "srem", "smembers"),
        *("lpush", "rpush", "rpop", "blmove", "llen"),
        *("sismember", "zcount"),  # Celery's scripts for chords
        *("watch", "unwatch"),  # Celery, when a node that stops gives back what it has not begun
        *("incrby", "hkeys"),  # the HTTP server, where `up` runs it as this user
    ),
)
CLIENT = RedisUser(
    name="client",
    purpose="services that enqueue with Celery: send, wait for the result, revoke",
    sends=True,
    keys=(_RESULTS, "_kombu.binding*", "transcribe*"),
    channels=(_RESULTS, *_BROADCASTS),
    commands=(*_SESSION, *_LIBRARY, *_SUBSCRIPTIONS, "publish", "get", "mget", "lpush", "llen", "sadd", "smembers"),
)
#: Redis before version 7 cannot tie a command to a key, so a user that may set a chord's size may also replace a queue.
CHORDS = RedisUser(
    name="chords",
    purpose="services that make chords, too; they could also delete what waits in `transcribe`",
    sends=True,
    keys=(*CLIENT.keys, _CHORDS),
    channels=(*CLIENT.channels, _CHORDS),
    commands=(*CLIENT.commands, "set", "setex", "del"),
)
METRICS = RedisUser(
    name="metrics",
    purpose="Flower, and the metrics that it serves",
    # Flower's own queues of replies and events, and the bindings of the exchanges that they are bound to:
    keys=(
        *("_kombu.binding*celeryev", "_kombu.binding*pidbox", "_kombu.binding_deadlines"),
        *("*.reply.celery.pidbox*", "celeryev*", "flower.*"),
    ),
    reads=("fleet:*", _RESULTS, *_QUEUES, "_kombu.binding*"),
    channels=(_RESULTS, *_BROADCASTS),
    commands=(
        *_SESSION,
        *_LIBRARY,
        *_SUBSCRIPTIONS,
        "publish",
        *("eval", "evalsha", "script|load", "script|exists", "time"),
        *("get", "mget", "hget", "hgetall", "hmget", "zrange", "zrangebyscore", "zcard", "zscore", "llen", "smembers"),
        *(
            "exists",
            "set",
            "del",
            "expire",
            "sadd",
            "srem",
            "zadd",
            "zrem",
            "brpop",
            "zrevrangebyscore",
            "watch",
            "unwatch",
        ),
    ),
)
#: The HTTP server is a client that also reads the ledger and owns keys of its own. It takes no messages.
HTTP = RedisUser(
    name="http",
    purpose="the HTTP server",
    keys=("fleet:*", _RESULTS, "_kombu.binding*", "transcribe*", "assemble*", "scheduler*"),
    channels=("fleet:*", _RESULTS, *_BROADCASTS),
    commands=(
        *_SESSION,
        *_LIBRARY,
        *_SUBSCRIPTIONS,
        "publish",
        *("eval", "evalsha", "time"),
        *("get", "mget", "set", "del", "exists", "expire", "incrby"),
        *("hget", "hmget", "hgetall", "hkeys", "hset", "hsetnx", "hdel", "hincrby", "hincrbyfloat"),
        *("zadd", "zrem", "zrange", "zrangebyscore", "zrevrange", "zcard", "zscore"),
        *("sadd", "srem", "smembers"),
        *("lpush", "llen"),
    ),
)
USERS = (FLEET, CLIENT, CHORDS, METRICS, HTTP)
