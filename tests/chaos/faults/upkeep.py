"""A janitor that removes jobs soon after their end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.chaos.rows import row
from tests.chaos.scene.scene import Scene
from whisper_fleet.shared.ledger import keys

_RETENTION_SECONDS = 30
_JANITOR_SECONDS = 2


@contextmanager
def _short_retention(scene: Scene) -> Iterator[None]:
    variables = {
        "WHISPER_FLEET_JOB_RETENTION": str(_RETENTION_SECONDS),
        "WHISPER_FLEET_JANITOR_INTERVAL": str(_JANITOR_SECONDS),
    }
    for host in scene.hosts:
        host.stop()
        host.start(**variables)
    scene.wait_ready()
    yield
    for host in scene.hosts:
        host.stop()


def _is_forgotten(scene: Scene, jobs: Sequence[str]) -> Sequence[str]:
    """Return the keys of jobs that are still there after their time, and their places in the index."""
    time.sleep(_RETENTION_SECONDS + 3 * _JANITOR_SECONDS)
    left = [str(key) for job in jobs for key in scene.redis.scan_iter(match=f"{keys.job(job)}*", count=1000)]
    left += [f"celery-task-meta-{job}" for job in jobs if scene.redis.exists(f"celery-task-meta-{job}")]
    return left + [f"{job} in {keys.JOBS}" for job in jobs if scene.redis.zscore(keys.JOBS, job) is not None]


@row("janitor with a retention of 30 s, node and engine killed", staging=_short_retention, check=_is_forgotten)
def short_retention(scene: Scene) -> None:
    """Deaths under load, so that the janitor meets work that is waiting to be recovered."""
    scene.left.process("gpu0").kill()
    time.sleep(5.0)
    scene.right.process("engine").kill()
