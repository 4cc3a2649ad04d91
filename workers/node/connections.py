"""A node's clients: of the broker, of Redis, and of the ledger, both retrying and failing fast."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from celery import Celery
from redis import Redis

from whisper_fleet.shared.connect import Outage, connect, connect_fail_fast
from whisper_fleet.shared.ledger.actions import JobActions
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.wakeup import wake_dispatcher
from whisper_fleet.shared.settings import Settings

_log = logging.getLogger(__name__)

#: The wake-ups and heartbeats of this node, which are repeated before long.
REPORTS = Outage("heartbeats and wake-ups", _log)


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
        with REPORTS.ignored():
            wake_dispatcher(self.app, self.fail_fast.redis)


def connections_to(app: Celery, settings: Settings) -> Connections:
    """Return the clients for these settings; they connect when they are first used."""
    return Connections(
        app=app,
        retrying=_client(connect(settings.redis_url), app, settings),
        fail_fast=_client(connect_fail_fast(settings.redis_url), app, settings),
    )


def _client(redis: Redis, app: Celery, settings: Settings) -> LedgerClient:
    ledger = Ledger(redis, settings)
    return LedgerClient(redis=redis, ledger=ledger, actions=JobActions(ledger, app))
