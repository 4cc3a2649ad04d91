"""Connects to Redis with a client that retries, since every step of the ledger may be repeated, or that fails fast."""

from __future__ import annotations

from typing import Any

from kombu.exceptions import OperationalError
from redis import BlockingConnectionPool, Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, ReadOnlyError, TimeoutError
from redis.retry import Retry

#: Raised while Redis is unreachable or is being replaced by its replica; OperationalError is Celery's.
UNREACHABLE = (ConnectionError, TimeoutError, ReadOnlyError, OperationalError)

#: With pauses of 0.05 s to 1 s, a client retries for half a minute.
_TRIES = 30
#: Connections per client: a node has one thread per slot, but Redis has few connections for a thousand nodes.
_CONNECTIONS = 32


def connect(url: str) -> Redis:
    """Return a client that retries for half a minute before it raises; it connects when it is first used."""
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
    """Return a client that raises within seconds, for writes that are repeated periodically."""
    return _client(url, timeout=5.0, socket_connect_timeout=2.0, socket_timeout=5.0)


def _client(url: str, *, timeout: float, **options: Any) -> Redis:
    """Return a client whose threads wait `timeout` seconds for a connection; redis-py's default pool raises."""
    pool = BlockingConnectionPool.from_url(url, max_connections=_CONNECTIONS, timeout=timeout, **options)
    return Redis.from_pool(pool)
