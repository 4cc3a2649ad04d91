"""What must be empty when every job has ended: queues, work in progress, spool, the process table."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from redis import Redis

from tests.chaos.scene.scene import Scene
from whisper_fleet.shared import names
from whisper_fleet.shared.ledger import keys

_EMPTY = (
    *("unacked", "unacked_index", names.TRANSCRIBE_QUEUE, names.RESUMED_QUEUE),
    *(keys.DUE, keys.LANES, keys.UNDETECTED, keys.CALLBACKS, keys.READING, keys.DEFERRED_TENANTS),
)

_WRITTEN = (".txt", ".whisper-fleet")


def leftovers(scene: Scene, jobs: Collection[str], seconds: float = 90.0) -> tuple[str, ...]:
    """Return what is left after at most `seconds`: consumers that died are noticed after a while."""
    deadline = time.monotonic() + seconds
    while (found := _look(scene, jobs)) and time.monotonic() < deadline:
        time.sleep(1.0)
    return tuple(found)


def _look(scene: Scene, jobs: Collection[str]) -> list[str]:
    orphans = [orphan for host in scene.hosts for orphan in host.orphans()]
    return [*_in_redis(scene.redis, jobs), *_in_spool(scene.spool.path), *_beside_outputs(scene.outputs.path), *orphans]


def _in_redis(redis: Redis, jobs: Collection[str]) -> list[str]:
    queues = [key for pattern in ("gpu.*", "assemble*") for key in _keys(redis, pattern)]
    active = [*_keys(redis, keys.active("*")), *_keys(redis, keys.lane("*"))]
    left = [f"{key} holds {size}" for key in (*_EMPTY, *queues, *active) if (size := _size(redis, key))]
    # A job and all that belongs to it must be about to expire.
    kept = [f"{key} never expires" for job in jobs for key in _keys(redis, f"{keys.job(job)}*") if redis.ttl(key) == -1]
    answers = [f"celery-task-meta-{job}" for job in jobs]
    kept += [f"{key} never expires" for key in answers if redis.ttl(key) == -1]
    letters = redis.hlen("fleet:dead_letters")
    return [*left, *kept, *([f"{letters} dead letters"] if letters else [])]


def _keys(redis: Redis, pattern: str) -> list[str]:
    return [str(key) for key in redis.scan_iter(match=pattern, count=1000)]


def _size(redis: Redis, key: str) -> int:
    sizes: dict[str, Any] = {"list": redis.llen, "hash": redis.hlen, "set": redis.scard, "zset": redis.zcard}
    measure = sizes.get(str(redis.type(key)))
    return 0 if measure is None else int(measure(key))


def _in_spool(spool: Path) -> list[str]:
    return [f"{path.relative_to(spool)} in the spool" for path in _files(spool)]


def _beside_outputs(outputs: Path) -> list[str]:
    """Return files that are neither a transcript nor the note whose transcript it is, such as half-written ones."""
    return [f"{path.name} beside the transcripts" for path in _files(outputs) if path.suffix not in _WRITTEN]


def _files(folder: Path) -> list[Path]:
    """Return every file below a folder from which others remove some meanwhile."""
    return [Path(parent) / name for parent, _, names in os.walk(folder) for name in names]
