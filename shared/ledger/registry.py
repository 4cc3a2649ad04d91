"""The registry of GPUs: every node beats its GPU's status into Redis, everybody reads it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import cast

from pydantic import ValidationError
from redis import Redis

from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import run, text
from whisper_fleet.shared.wire import GpuStatus

_log = logging.getLogger(__name__)

#: Seconds in which a GPU that left may well come back: its machine is upgraded, or starts anew.
_BACK = 3600


class GpuRegistry:
    """The GPUs that ever joined; Redis errors pass through as they are.

    It remembers what it read: a process that asks again and again reads only the GPUs that beat meanwhile.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._known: dict[str, GpuStatus | None] = {}  # by id, in order; None: it cannot be read
        self._version = 0  # of the registry, as it was read last
        self._lock = threading.Lock()

    def beat(self, status: GpuStatus) -> None:
        """Join, or say that the GPU is alive and how it does."""
        run(self._redis, "beat", status.id, status.to_json())

    def gpus(self, now: float, timeout: float) -> list[GpuStatus]:
        """The GPUs whose last heartbeat is at most `timeout` seconds old, by id."""
        oldest = now - timeout
        return [gpu for gpu in self.all() if gpu.heartbeat >= oldest]

    def all(self) -> list[GpuStatus]:
        """Every GPU that joined and did not leave, alive or not, by id."""
        with self._lock:
            if not self._catch_up():
                self._known, self._version = {}, 0
                self._catch_up()
            return [status for status in self._known.values() if status is not None]

    def some(self, gpus: Sequence[str]) -> list[GpuStatus]:
        """Those of these GPUs that joined and did not leave, alive or not."""
        written = cast("list[bytes | None]", self._redis.mget([keys.gpu(gpu) for gpu in gpus]))
        return [status for told in written if (status := _read(told)) is not None]

    def leave(self, gpu_id: str) -> None:
        """Take a GPU out of the registry."""
        run(self._redis, "leave", gpu_id, _BACK)

    def lately(self, now: float) -> list[GpuStatus]:
        """All, and those that left within the hour, by id: what they alone can do is not impossible."""
        told = cast("list[bytes]", self._redis.zrange(keys.GPUS_LEFT, now - _BACK, "+inf", byscore=True))
        left = [status for words in told if (status := _read(words)) is not None]
        known = {gpu.id: gpu for gpu in [*left, *self.all()]}
        return [known[gpu] for gpu in sorted(known)]

    def _catch_up(self) -> bool:
        """Read what beat since the last time; False when that does not tell all: a GPU left, or Redis forgot."""
        version, count, beats = run(self._redis, "registry", self._version)
        if version < self._version:
            return False
        fresh = {text(gpu): _read(status) for gpu, status in beats}
        known = self._known | fresh
        self._known = known if len(known) == len(self._known) else dict(sorted(known.items()))
        self._version = version
        return len(known) == int(count)


def _read(status: bytes | None) -> GpuStatus | None:
    """None for an entry of a node of another version: one odd node must not blind the fleet."""
    if status is None:
        return None
    try:
        return GpuStatus.from_json(status)
    except ValidationError as error:
        _log.warning("ignoring a GPU status that cannot be read: %s", error)
        return None
