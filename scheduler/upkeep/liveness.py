"""Finds dead GPUs: those whose heartbeat is late at two looks, because Redis itself may have been unreachable."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text


class Liveness:
    """Keeps in Redis which GPUs are silent since when, so that any process may take the second look."""

    def __init__(self, services: Services) -> None:
        self._redis = services.redis
        self._fleet = services.fleet
        self._settings = services.settings

    def look(self, gpus: Collection[str], now: float) -> dict[str, bool]:
        """Return for each of these GPUs whether it is dead; leave out silent ones that may still be alive.

        After an outage of Redis every heartbeat is late. So the first look only records which GPUs are silent; by
        the second one, GPUs that are alive have sent a heartbeat.
        """
        timeout, interval = self._settings.heartbeat_timeout, self._settings.recovery_interval
        # Early enough for the second look to come by the time that `heartbeat_timeout` is over.
        silent_after = max(timeout - interval, timeout / 2)
        heartbeats = {status.id: status.heartbeat for status in self._fleet.all()}
        recorded = cast("dict[bytes, bytes]", self._redis.hgetall(keys.SILENT))
        since = {text(gpu): float(moment) for gpu, moment in recorded.items()}
        silent = {gpu for gpu in gpus if gpu in heartbeats and now - heartbeats[gpu] > silent_after}
        self._record(silent - since.keys(), since.keys() - silent, now)
        certain = {gpu: gpu not in heartbeats for gpu in gpus if gpu not in silent}
        seen_twice = [gpu for gpu in silent & since.keys() if now - since[gpu] >= interval / 2]
        return certain | {gpu: now - heartbeats[gpu] > timeout for gpu in seen_twice}

    def _record(self, silent: Collection[str], back: Collection[str], now: float) -> None:
        if silent:
            self._redis.hset(keys.SILENT, mapping=dict.fromkeys(silent, now))
        if back:
            self._redis.hdel(keys.SILENT, *back)
