"""A node's clients: of the broker, of Redis, and of the ledger, both retrying and failing fast."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from whisper_fleet.shared.connect import connect, connect_fail_fast
from whisper_fleet.shared.ledger.actions import JobActions
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.wakeup import wake_dispatcher
from whisper_fleet.shared.settings import Settings

_log = logging.getLogger(__name__)

#: What an outage of Redis, or of the broker in it, raises.
OUTAGE = (RedisError, OperationalError, OSError)


@dataclass(frozen=True, kw_only=True)
class LedgerClient:
    """One connection to Redis, and the ledger through it."""

    redis: Redis
    ledger: Ledger
    actions: JobActions


@dataclass(frozen=True, kw_only=True)
class Connections:
    """The clients of one node process."""

    app: Celery
    retrying: LedgerClient  # for transitions that must not be lost
    fail_fast: LedgerClient  # for what is sent again at the next window or heartbeat

    def wake_dispatcher(self) -> None:
        """Have the dispatcher look for work for this node; it also looks by itself now and then."""
        with outage_ignored():
            wake_dispatcher(self.app, self.fail_fast.redis)


def connections_to(app: Celery, settings: Settings) -> Connections:
    """Return the clients for these settings; they connect when they are first used."""
    return Connections(
        app=app,
        retrying=_client(connect(settings.redis_url), app, settings),
        fail_fast=_client(connect_fail_fast(settings.redis_url), app, settings),
    )


@contextmanager
def outage_ignored() -> Iterator[None]:
    """Log an outage of Redis instead of raising it: for what is repeated before long."""
    try:
        yield
    except OUTAGE as error:
        _log.warning("Redis is unreachable: %s", error)


def _client(redis: Redis, app: Celery, settings: Settings) -> LedgerClient:
    ledger = Ledger.from_settings(redis, settings)
    return LedgerClient(redis=redis, ledger=ledger, actions=JobActions(ledger, app))
