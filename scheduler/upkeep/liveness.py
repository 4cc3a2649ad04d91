"""Which GPUs are gone: silent for too long, and at two looks, because a silence may have been Redis' own."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text


class Liveness:
    """What is known of silent GPUs lies in Redis, so that any process may take the second look."""

    def __init__(self, services: Services) -> None:
        self._redis = services.redis
        self._fleet = services.fleet
        self._timeout = services.settings.heartbeat_timeout
        self._interval = services.settings.recovery_interval
        #: Seconds of silence that are noted: in time, so that a GPU is found to be gone as soon as without.
        self._noted = max(self._timeout - self._interval, self._timeout / 2)

    def look(self, gpus: Collection[str], now: float) -> dict[str, bool]:
        """Whether each of these GPUs is gone; a silent one of which that is not sure yet is left out.

        After Redis was away everybody has been silent: the first look only notes it, and until the second one
        whoever is alive sends a heartbeat.
        """
        heartbeats = {status.id: status.heartbeat for status in self._fleet.all()}
        noted = cast("dict[bytes, bytes]", self._redis.hgetall(keys.SILENT))
        since = {text(gpu): float(moment) for gpu, moment in noted.items()}
        silent = {gpu for gpu in gpus if gpu in heartbeats and now - heartbeats[gpu] > self._noted}
        self._note(silent - since.keys(), since.keys() - silent, now)
        seen = {gpu: gpu not in heartbeats for gpu in gpus if gpu not in silent}
        twice = [gpu for gpu in silent & since.keys() if now - since[gpu] >= self._interval / 2]
        return seen | {gpu: now - heartbeats[gpu] > self._timeout for gpu in twice}

    def _note(self, fell_silent: Collection[str], are_back: Collection[str], now: float) -> None:
        if fell_silent:
            self._redis.hset(keys.SILENT, mapping=dict.fromkeys(fell_silent, now))
        if are_back:
            self._redis.hdel(keys.SILENT, *are_back)
