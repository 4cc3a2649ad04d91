"""The hosts of the fleet that have a process for the ticks of their own: resizing their pools, cleaning their spool.

Beat reads the list to know where such ticks go. A host whose process has died drops out, so that no queue grows that
nobody reads.
"""

from __future__ import annotations

import logging
from typing import Any, cast

from celery import bootsteps
from redis import Redis

from whisper_fleet.scheduler.services import services
from whisper_fleet.shared import names
from whisper_fleet.shared.connect import Outage
from whisper_fleet.shared.ledger import keys

_PRESENCE = Outage("reporting this host", logging.getLogger(__name__))

#: Seconds between two reports, and after which a host that reported none is down.
_INTERVAL = 5.0
_TIMEOUT = 20.0


def report_host(redis: Redis, host: str) -> None:
    """Note that this host takes its ticks now, by the clock of Redis, and forget hosts that reported none in a day."""
    now, _ = redis.time()
    pipeline = redis.pipeline()
    pipeline.zadd(keys.HOSTS, {host: now})
    pipeline.zremrangebyscore(keys.HOSTS, "-inf", now - 86400)
    pipeline.execute()


def live_hosts(redis: Redis) -> set[str]:
    """Return the names of the hosts that take their ticks."""
    now, _ = redis.time()
    members = cast("list[bytes]", redis.zrangebyscore(keys.HOSTS, now - _TIMEOUT, "+inf"))
    return {member.decode() for member in members}


class HostPresence(bootsteps.StartStopStep):
    """Reports this host from the node that reads its queue; a Celery bootstep of every scheduler process."""

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._timer_entry: Any = None

    def include_if(self, parent: Any) -> bool:
        """Return whether the worker reads this host's queue."""
        return names.scheduler_queue(services().settings.host) in parent.app.amqp.queues.consume_from

    def start(self, parent: Any) -> None:
        """Report now, and then at each interval."""
        self._report()
        self._timer_entry = parent.timer.call_repeatedly(_INTERVAL, self._report)

    def stop(self, parent: Any) -> None:
        """End the reports; beat stops sending ticks here after the timeout."""
        if self._timer_entry is not None:
            self._timer_entry.cancel()

    def _report(self) -> None:
        with _PRESENCE.ignored():
            report_host(services().redis, services().settings.host)
