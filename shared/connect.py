"""The ways to Redis: patient, because every step of the ledger may be repeated, or fail_fast."""

from __future__ import annotations

from typing import Any

from kombu.exceptions import OperationalError
from redis import BlockingConnectionPool, Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, ReadOnlyError, TimeoutError
from redis.retry import Retry

#: What is raised while Redis is away, or is being replaced by its replica; OperationalError: by Celery.
UNREACHABLE = (ConnectionError, TimeoutError, ReadOnlyError, OperationalError)

#: With pauses of 0.05 s to 1 s: half a minute without Redis is a pause, not an error.
_TRIES = 30
#: Of one client. A node has a thread a slot, and a Redis has few connections for a thousand nodes.
_CONNECTIONS = 32


def connect(url: str) -> Redis:
    """A client that waits for Redis for half a minute before it gives up; connects when first used."""
    return _client(
        url,
        timeout=30.0,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), _TRIES),
        retry_on_error=[ConnectionError, TimeoutError, BusyLoadingError],
        socket_connect_timeout=5.0,
        socket_timeout=30.0,
        socket_keepalive=True,
        health_check_interval=25,
    )


def connect_fail_fast(url: str) -> Redis:
    """A client for what is said again before long: it gives up within seconds."""
    return _client(url, timeout=5.0, socket_connect_timeout=2.0, socket_timeout=5.0)


def _client(url: str, *, timeout: float, **options: Any) -> Redis:
    """Threads wait `timeout` seconds for one of the connections; redis-py's own pool would turn the 101st away."""
    pool = BlockingConnectionPool.from_url(url, max_connections=_CONNECTIONS, timeout=timeout, **options)
    return Redis.from_pool(pool)
