"""A janitor that removes jobs soon after their end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

from tests.chaos.faults.staging import restarted_with
from tests.chaos.rows import row
from tests.chaos.scene.scene import Scene
from whisper_fleet.shared.ledger import keys

_RETENTION_SECONDS = 30
_JANITOR_SECONDS = 2


def _short_retention(scene: Scene) -> AbstractContextManager[None]:
    settings = {"JOB_RETENTION": _RETENTION_SECONDS, "JANITOR_INTERVAL": _JANITOR_SECONDS}
    return restarted_with(scene, **settings)


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
