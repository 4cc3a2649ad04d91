"""Deletes what is no longer needed: ids of expired jobs, audio and uploads of ended jobs, and GPUs long dead."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.audio.spool import FETCHED, Spool, bytes_in
from whisper_fleet.shared.http.upload_keepers import is_kept
from whisper_fleet.shared.http.uploads import Uploads
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.ledger.tenants import forget_tenants
from whisper_fleet.shared.webhooks.deliveries import Deliveries
from whisper_fleet.shared.wire import JobState

_log = logging.getLogger(__name__)

_PAGE = 1000
#: Seconds for which new spooled audio is kept: it may belong to a job that the ledger does not know yet.
_YOUNG = 600.0
#: Seconds for which a new upload is kept in any case: its keeper may just be about to change.
_YOUNG_UPLOAD = 60.0
#: Seconds after which a fetched file can no longer be in use.
_ABANDONED = 86400.0
#: Seconds without a heartbeat after which a GPU is removed from the fleet.
_DEAD = 86400.0


class Janitor:
    """Cleans this host's spool, the ledger's index of jobs, and the registry; every tick may be repeated."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._redis = services.redis
        self._spool = Spool(services.settings)
        self._uploads = Uploads(services.settings)

    def tick(self, now: float) -> None:
        """Delete everything that is no longer needed at `now`."""
        live = self._clean_jobs()
        self._clean_spool(live, now)
        self._clean_fetched(now)
        self._clean_uploads(now)
        self._clean_gpus(now)
        forget_tenants(self._redis, now)
        Deliveries(self._redis).forget(now - self._services.settings.job_retention)

    def _clean_jobs(self) -> set[str]:
        """Return the ids of the jobs that have not ended; remove those whose record expired from the index."""
        live: set[str] = set()
        for page in self._pages():
            pipeline = self._redis.pipeline(transaction=False)
            for job in page:
                pipeline.hget(keys.job(job), "state")
            states = dict(zip(page, pipeline.execute(), strict=True))
            expired = [job for job, state in states.items() if state is None]
            if expired:
                self._redis.zrem(keys.JOBS, *expired)
            live.update(job for job, state in states.items() if state and not JobState(text(state)).is_final)
        return live

    def _pages(self) -> Iterator[list[str]]:
        jobs = [text(job) for job in cast("list[bytes]", self._redis.zrange(keys.JOBS, 0, -1))]
        for first in range(0, len(jobs), _PAGE):
            yield jobs[first : first + _PAGE]

    def _clean_spool(self, live: set[str], now: float) -> None:
        """Delete audio of ended jobs and, above the limit, the oldest audio; slots then read the job's file instead."""
        needed = {self._spool.folder(job) for job in live}
        folders = sorted(self._spool.folders(), key=_modified)
        excess = self._spool.used() - self._services.settings.spool_limit_bytes
        for folder in folders:
            is_over = excess > 0
            if is_over or (folder not in needed and now - _modified(folder) > _YOUNG):
                excess -= bytes_in(folder)
                shutil.rmtree(folder, ignore_errors=True)

    def _clean_fetched(self, now: float) -> None:
        """Delete files that a killed process had fetched; other processes delete theirs themselves."""
        for file in self._spool.directory.glob(f"{FETCHED}*"):
            if now - _modified(file) > _ABANDONED:
                file.unlink(missing_ok=True)

    def _clean_uploads(self, now: float) -> None:
        """Delete uploads of ended jobs, and those that nothing keeps because the server that received them died."""
        for file in self._uploads.all():
            if now - _modified(file) > _YOUNG_UPLOAD and not is_kept(self._redis, file.name):
                file.unlink(missing_ok=True)
                self._redis.delete(keys.upload(file.name))

    def _clean_gpus(self, now: float) -> None:
        for gpu in self._services.fleet.all():
            if now - gpu.heartbeat > _DEAD:
                _log.warning("GPU %s sent no heartbeat for a day and is removed from the fleet", gpu.id)
                self._services.fleet.leave(gpu.id)
                self._redis.delete(gpu.queue)


def _modified(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return time.time()
