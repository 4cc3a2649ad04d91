"""The one way to Redis: patient, because every step of the ledger may be repeated."""

from __future__ import annotations

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError
from redis.retry import Retry

#: With pauses of 0.05 s to 1 s: half a minute without Redis is a pause, not an error.
_TRIES = 30


def connect(url: str) -> Redis:
    """A client that waits for Redis for half a minute before it gives up; connects when first used."""
    return Redis.from_url(
        url,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), _TRIES),
        retry_on_error=[ConnectionError, TimeoutError, BusyLoadingError],
        socket_connect_timeout=5.0,
        socket_timeout=30.0,
        socket_keepalive=True,
        health_check_interval=25,
    )
