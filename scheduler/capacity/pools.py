"""Reads and resizes the pools of this host's GPU nodes through Celery's remote control; failures are values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from celery import Celery
from kombu.exceptions import OperationalError
from kombu.utils.uuid import uuid
from redis import ConnectionError as RedisConnectionError
from redis import Redis

from whisper_fleet.shared.ledger import keys

_T = TypeVar("_T")

Outcome = Literal["resized", "refused", "no answer", "wrong size", "busy"]

_BUSY: tuple[Outcome, str] = ("busy", "another resize of this node is in progress")

#: A pooled connection that was closed while idle fails once and is replaced.
_CONNECTION_ERRORS = (ConnectionError, OperationalError, RedisConnectionError)

#: Seconds after which the lock of a resize counts as abandoned; a resize takes milliseconds.
_LOCK_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Resize:
    """A change of one pool of `live` slots by `by` slots, negative to shrink it."""

    live: int
    by: int


class Pools:
    """Remote control of nodes by name, with at most one resize per node at a time in the fleet."""

    def __init__(self, app: Celery, redis: Redis, *, timeout: float = 1.0) -> None:
        self._app = app
        self._redis = redis
        self._timeout = timeout

    def sizes(self, nodes: Sequence[str]) -> dict[str, int]:
        """Return the live pool size of every node that answers in time."""
        if not nodes:
            return {}
        inspect = self._app.control.inspect(destination=list(nodes), timeout=self._timeout)
        replies = _retry_once(inspect.stats) or {}
        return {node: size for node, stats in replies.items() if (size := _size(stats)) is not None}

    def resize(self, resizes: Mapping[str, Resize]) -> dict[str, tuple[Outcome, str]]:
        """Resize the pools, all at once, and read their new sizes; return the outcome and details per node."""
        with self._locked(resizes) as ours:
            replies = _retry_once(lambda: self._send(ours)) if ours else []
        busy: dict[str, tuple[Outcome, str]] = dict.fromkeys(resizes, _BUSY)
        return busy | {node: _outcome(node, resize, replies) for node, resize in ours.items()}

    @contextmanager
    def _locked(self, resizes: Mapping[str, Resize]) -> Iterator[dict[str, Resize]]:
        """Yield the resizes whose per-node lock we hold."""
        locks = {
            node: self._redis.lock(keys.resize_lock(node), timeout=_LOCK_SECONDS, blocking=False) for node in resizes
        }
        held = {node: lock for node, lock in locks.items() if lock.acquire()}
        try:
            yield {node: resizes[node] for node in held}
        finally:
            for lock in held.values():
                if lock.owned():
                    lock.release()

    def _send(self, resizes: Mapping[str, Resize]) -> list[dict[str, Any]]:
        """Send every node a resize and then a request for its size, and wait once for all replies.

        Celery's own `pool_grow` sends the same messages, but waits for each reply before it sends the next.
        """
        control: Any = self._app.control  # its mailbox is missing in the stubs
        nodes_by: dict[int, list[str]] = defaultdict(list)
        for node, resize in resizes.items():
            nodes_by[resize.by].append(node)
        with self._app.connection_or_acquire() as connection:
            mailbox, ticket = control.mailbox(connection), uuid()
            for by, nodes in nodes_by.items():
                command = "pool_grow" if by > 0 else "pool_shrink"
                mailbox._publish(command, {"n": abs(by)}, nodes, ticket, timeout=self._timeout)
            mailbox._publish("stats", {}, list(resizes), ticket, timeout=self._timeout)
            replies: list[dict[str, Any]] = mailbox._collect(ticket, 2 * len(resizes), self._timeout)
            return replies


def _retry_once(call: Callable[[], _T]) -> _T:
    try:
        return call()
    except _CONNECTION_ERRORS:
        return call()


def _size(stats: Any) -> int | None:
    """Return `max-concurrency` of a node's statistics, where SlotPool reports its size."""
    pool = stats.get("pool") if isinstance(stats, dict) else None
    size = pool.get("max-concurrency") if isinstance(pool, dict) else None
    return size if isinstance(size, int) else None


def _outcome(node: str, resize: Resize, replies: Sequence[Any]) -> tuple[Outcome, str]:
    """Return how a resize ended, with details.

    The reply to the resize is `{node: {"ok": ...}}` or `{node: {"error": ...}}`,
    the one with its size `{node: statistics}`.
    """
    of_node = [reply[node] for reply in replies if isinstance(reply, dict) and isinstance(reply.get(node), dict)]
    refusal = next((reply["error"] for reply in of_node if "error" in reply), None)
    if refusal is not None:
        return "refused", str(refusal)
    if not any("ok" in reply for reply in of_node):
        return "no answer", "it did not answer in time"
    size = next((size for reply in of_node if (size := _size(reply)) is not None), None)
    if size is None:
        return "no answer", "it went silent after the resize"
    expected = resize.live + resize.by
    if size != expected:
        return "wrong size", f"it has {size} slots instead of {expected}"
    return "resized", f"it has {size} slots"
