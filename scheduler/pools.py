"""The pools of this host's GPU nodes, seen and resized by Celery's remote control; answers are values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from celery import Celery
from kombu.exceptions import OperationalError
from redis import ConnectionError as RedisConnectionError
from redis import Redis

from shared import keys

_T = TypeVar("_T")

Outcome = Literal["resized", "refused", "no answer", "wrong size", "busy"]

#: A connection that died while it lay in the pool fails once and is replaced.
_CONNECTION_ERRORS = (ConnectionError, OperationalError, RedisConnectionError)

#: A resize is a matter of milliseconds; after this many seconds its lock is taken for left behind.
_LOCK_SECONDS = 15.0


class Pools:
    """Remote control of nodes by name; at most one resize of a node is on its way in the whole fleet."""

    def __init__(self, app: Celery, redis: Redis, *, timeout: float = 1.0) -> None:
        self._app = app
        self._redis = redis
        self._timeout = timeout

    def sizes(self, nodes: Sequence[str]) -> dict[str, int]:
        """The live pool size of every node that answers in time."""
        if not nodes:
            return {}
        inspect = self._app.control.inspect(destination=list(nodes), timeout=self._timeout)
        answers = _twice(inspect.stats) or {}
        return {node: size for node, stats in answers.items() if (size := _size(stats)) is not None}

    def resize(self, node: str, live: int, by: int) -> tuple[Outcome, str]:
        """Make the pool `by` slots larger (or, negative, smaller) and look whether it is; with details."""
        lock = self._redis.lock(keys.resize_lock(node), timeout=_LOCK_SECONDS, blocking=False)
        if not lock.acquire():
            return "busy", "another resize of this node is on its way"
        try:
            outcome, details = self._ask(node, by)
            return self._verify(node, live + by) if outcome == "resized" else (outcome, details)
        finally:
            if lock.owned():
                lock.release()

    def _ask(self, node: str, by: int) -> tuple[Outcome, str]:
        control = self._app.control
        command = control.pool_grow if by > 0 else control.pool_shrink
        answers = _twice(lambda: command(abs(by), destination=[node], reply=True, timeout=self._timeout))
        return _outcome(node, answers)

    def _verify(self, node: str, expected: int) -> tuple[Outcome, str]:
        size = self.sizes([node]).get(node)
        if size is None:
            return "no answer", "it went silent after the resize"
        if size != expected:
            return "wrong size", f"it has {size} slots instead of {expected}"
        return "resized", f"it has {size} slots"


def _twice(call: Callable[[], _T]) -> _T:
    try:
        return call()
    except _CONNECTION_ERRORS:
        return call()


def _size(stats: Any) -> int | None:
    """`max-concurrency` of a node's statistics: SlotPool writes its true size there."""
    pool = stats.get("pool") if isinstance(stats, dict) else None
    size = pool.get("max-concurrency") if isinstance(pool, dict) else None
    return size if isinstance(size, int) else None


def _outcome(node: str, answers: Any) -> tuple[Outcome, str]:
    """Reads `[{node: {"ok": ...} | {"error": ...}}]`, which is empty when nobody answered in time."""
    for answer in answers or ():
        told = answer.get(node) if isinstance(answer, dict) else None
        if isinstance(told, dict):
            return ("refused", str(told["error"])) if "error" in told else ("resized", str(told.get("ok")))
    return "no answer", "it did not answer in time"
