"""The pools of this host's GPU nodes, seen and resized by Celery's remote control; answers are values."""

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

_BUSY: tuple[Outcome, str] = ("busy", "another resize of this node is on its way")

#: A connection that died while it lay in the pool fails once and is replaced.
_CONNECTION_ERRORS = (ConnectionError, OperationalError, RedisConnectionError)

#: A resize is a matter of milliseconds; after this many seconds its lock is taken for left behind.
_LOCK_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Resize:
    """A change of one pool: from `live` slots by so many more or, negative, fewer."""

    live: int
    by: int


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

    def resize(self, resizes: Mapping[str, Resize]) -> dict[str, tuple[Outcome, str]]:
        """Make the pools larger or smaller, all at once, and look whether they are; with details."""
        with self._locked(resizes) as mine:
            answers = _twice(lambda: self._ask(mine)) if mine else []
        busy: dict[str, tuple[Outcome, str]] = dict.fromkeys(resizes, _BUSY)
        return busy | {node: _outcome(node, resize, answers) for node, resize in mine.items()}

    @contextmanager
    def _locked(self, resizes: Mapping[str, Resize]) -> Iterator[dict[str, Resize]]:
        """Those of the resizes whose nodes nobody else resizes now, and nobody will meanwhile."""
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

    def _ask(self, resizes: Mapping[str, Resize]) -> list[dict[str, Any]]:
        """Every node resizes and tells its size, which it does in this order; one wait for all answers.

        Celery's own `pool_grow` asks the same, but waits for each answer before the next question.
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
            answers: list[dict[str, Any]] = mailbox._collect(ticket, 2 * len(resizes), self._timeout)
            return answers


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


def _outcome(node: str, resize: Resize, answers: Sequence[Any]) -> tuple[Outcome, str]:
    """From `{node: {"ok": ...} | {"error": ...}}` for the resize and `{node: statistics}` for the size after it."""
    told = [answer[node] for answer in answers if isinstance(answer, dict) and isinstance(answer.get(node), dict)]
    refusal = next((answer["error"] for answer in told if "error" in answer), None)
    if refusal is not None:
        return "refused", str(refusal)
    if not any("ok" in answer for answer in told):
        return "no answer", "it did not answer in time"
    size = next((size for answer in told if (size := _size(answer)) is not None), None)
    if size is None:
        return "no answer", "it went silent after the resize"
    expected = resize.live + resize.by
    if size != expected:
        return "wrong size", f"it has {size} slots instead of {expected}"
    return "resized", f"it has {size} slots"
