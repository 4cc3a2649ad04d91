"""Connects to Redis, and waits for a Redis that is unreachable or refuses commands.

Redis refuses for many passing reasons: its memory or disk is full, it is a replica, a right is missing. A process that
waits for Redis treats every refusal like an outage: it pauses longer and longer between tries, and logs one line when
the outage begins and one when it ends.
"""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from kombu.exceptions import OperationalError
from redis import BlockingConnectionPool, Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

T = TypeVar("T")

#: Raised while Redis is unreachable or is being replaced by its replica; OperationalError is Celery's.
UNREACHABLE = (ConnectionError, TimeoutError, ReadOnlyError, OperationalError)

#: Refusals that redis-py has a class for. A script that was refused raises a plain ResponseError instead.
_REFUSED = (OutOfMemoryError, NoPermissionError, ClusterDownError, MasterDownError)
#: What comes before Redis' own word: a pipeline puts the command there, a script its name.
_BEFORE = r"(?:^|-|caused error: )"
_REFUSED_WORDS = "OOM|MISCONF|READONLY|NOREPLICAS|LOADING|BUSY|CLUSTERDOWN|MASTERDOWN|TRYAGAIN"
_REFUSED_TEXT = re.compile(rf"{_BEFORE}({_REFUSED_WORDS})\b")
_FORBIDDEN_TEXT = re.compile(rf"{_BEFORE}NOPERM\b|executing the script can't|ACL failure in script")

#: A key that exists for a second at most. Writer: check_writable.
_PROBE = "fleet:probe"

#: With pauses of 0.05 s to 1 s, a client retries for half a minute.
_TRIES = 30
#: Connections per client: a node has one thread per slot, but Redis has few connections for a thousand nodes.
_CONNECTIONS = 32
#: Seconds between two tries of a loop that waits for Redis: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0


def is_forbidden(error: BaseException) -> bool:
    """Return whether Redis refused a command because its user has no right to it."""
    if isinstance(error, NoPermissionError):
        return True
    return isinstance(error, ResponseError) and _FORBIDDEN_TEXT.search(str(error)) is not None


def is_outage(error: BaseException) -> bool:
    """Return whether an error means that Redis is unreachable or refuses commands for now, so that a retry may work."""
    if isinstance(error, (*UNREACHABLE, *_REFUSED)) or is_forbidden(error):
        return True
    return isinstance(error, ResponseError) and _REFUSED_TEXT.search(str(error)) is not None


def is_passing(error: BaseException) -> bool:
    """Return whether an error may pass by itself: an outage, but not a missing right, which a person has to grant."""
    return is_outage(error) and not is_forbidden(error)


def pauses(first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE) -> Iterator[float]:
    """Yield pauses in seconds that double up to `longest`, each shortened by chance so that processes spread out."""
    pause = first
    while True:
        yield pause * random.uniform(0.75, 1.0)  # noqa: S311
        pause = min(2 * pause, longest)


class Outage:
    """The outages of Redis as one activity sees them: a log line when one begins, and one when it ends.

    It is thread-safe: the slots of a node share one, so that an outage is logged once per process and activity.
    """

    def __init__(self, activity: str, log: logging.Logger) -> None:
        self._activity = activity
        self._log = log
        self._lock = threading.Lock()
        self._since: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether the last try failed."""
        return self._since is not None

    def failed(self, error: BaseException) -> None:
        """Note that a try failed."""
        with self._lock:
            is_first = self._since is None
            self._since = time.monotonic() if self._since is None else self._since
        if is_first:
            # Redis 6 does not say which command a script may not run.
            is_right = is_forbidden(error) or "has no permissions to" in str(error)  # Celery and kombu wrap the error
            hint = "; `whisper-fleet doctor` names the right that is missing" if is_right else ""
            self._log.warning("%s: Redis is unreachable or refuses, trying again (%s%s)", self._activity, error, hint)

    def ended(self) -> None:
        """Note that Redis accepted a command."""
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            self._log.warning("%s: Redis accepts again after %.1f s", self._activity, time.monotonic() - since)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note how the body ends, and let its error pass."""
        try:
            yield
        except Exception as error:
            if is_outage(error):
                self.failed(error)
            else:
                self.ended()
            raise
        self.ended()

    @contextmanager
    def ignored(self) -> Iterator[None]:
        """Note an outage instead of raising it, for what is repeated before long."""
        try:
            with self.noted():
                yield
        except Exception as error:
            if not is_outage(error):
                raise

    def retried(self, step: Callable[[], T], wait: Callable[[float], object] = time.sleep) -> T:
        """Repeat a step until Redis accepts it, and return its result; errors other than an outage pass through.

        `wait` is called with the pause in seconds before the next try. What it raises ends the retries.
        """
        for pause in pauses():
            with self.ignored():
                return step()
            wait(pause)
        raise AssertionError  # pauses never ends


def connect(url: str) -> Redis:
    """Return a client that retries for half a minute before it raises; it connects when it is first used."""
    return _client(
        url,
        timeout=30.0,
        retry=_RetryOutages(ExponentialBackoff(cap=1.0, base=0.05), _TRIES),
        retry_on_error=[ConnectionError, TimeoutError, BusyLoadingError, ResponseError],
        socket_connect_timeout=5.0,
        socket_timeout=30.0,
        socket_keepalive=True,
        health_check_interval=25,
    )


def connect_fail_fast(url: str) -> Redis:
    """Return a client that raises within seconds, for writes that are repeated periodically."""
    return _client(url, timeout=5.0, socket_connect_timeout=2.0, socket_timeout=5.0)


def check_writable(redis: Redis) -> None:
    """Raise the error of Redis if it is unreachable or refuses writes; a ping would succeed while it is full."""
    redis.set(_PROBE, 1, px=1000)


class _RetryOutages(Retry):
    """Retries what an outage makes fail, while that may pass by itself."""

    def call_with_retry(
        self, do: Callable[[], T], fail: Any, is_retryable: Any = None, with_failure_count: bool = False
    ) -> T:
        return super().call_with_retry(do, fail, is_retryable or is_passing, with_failure_count)


def _client(url: str, *, timeout: float, **options: Any) -> Redis:
    """Return a client whose threads wait `timeout` seconds for a connection; redis-py's default pool raises."""
    pool = BlockingConnectionPool.from_url(url, max_connections=_CONNECTIONS, timeout=timeout, **options)
    return Redis.from_pool(pool)
