"""The registry of GPUs: every node beats its GPU's status into Redis, everybody reads it."""

from __future__ import annotations

import logging
from typing import cast

from pydantic import ValidationError
from redis import Redis

from shared import keys
from shared.wire import GpuStatus

_log = logging.getLogger(__name__)


class Fleet:
    """The GPUs that ever joined; Redis errors pass through as they are."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def beat(self, status: GpuStatus) -> None:
        """Join, or say that the GPU is alive and how it does."""
        pipeline = self._redis.pipeline()
        pipeline.sadd(keys.GPUS, status.id)
        pipeline.set(keys.gpu(status.id), status.to_json())
        pipeline.execute()

    def gpus(self, now: float, timeout: float) -> list[GpuStatus]:
        """The GPUs whose last heartbeat is at most `timeout` seconds old, by id."""
        return [gpu for gpu in self.all() if now - gpu.heartbeat <= timeout]

    def all(self) -> list[GpuStatus]:
        """Every GPU that joined and did not leave, alive or not, by id."""
        ids = sorted(_text(gpu_id) for gpu_id in self._redis.smembers(keys.GPUS))
        if not ids:
            return []
        written = cast("list[bytes | None]", self._redis.mget([keys.gpu(gpu_id) for gpu_id in ids]))
        return [status for text in written if text is not None and (status := _read(text)) is not None]

    def leave(self, gpu_id: str) -> None:
        """Take a GPU out of the registry."""
        pipeline = self._redis.pipeline()
        pipeline.srem(keys.GPUS, gpu_id)
        pipeline.delete(keys.gpu(gpu_id))
        pipeline.execute()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _read(text: bytes) -> GpuStatus | None:
    """None for an entry of a node of another version: one odd node must not blind the fleet."""
    try:
        return GpuStatus.from_json(text)
    except ValidationError as error:
        _log.warning("ignoring a GPU status that cannot be read: %s", error)
        return None
