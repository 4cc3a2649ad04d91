"""Sweeps what nobody needs any more: names of forgotten jobs, audio of ended ones, GPUs long gone."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.audio.segments import Spool
from whisper_fleet.shared.audio.spool import bytes_in
from whisper_fleet.shared.audio.url import FETCHED
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.wire import JobState

_log = logging.getLogger(__name__)

_PAGE = 1000
#: Spooled audio that was just written may belong to a job that the ledger does not know yet, in seconds.
_YOUNG = 600.0
#: Nothing is read for so long after it was fetched, in seconds.
_LEFT = 86400.0
#: A GPU that sent no heartbeat for a day is no longer counted as the fleet's, in seconds.
_GONE = 86400.0


class Janitor:
    """Cleans this host's spool and the ledger's indices; every tick may be repeated."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._redis = services.redis
        self._spool = Spool(services.settings)

    def tick(self, now: float) -> None:
        """One round."""
        live = self._sweep_jobs()
        self._sweep_spool(live, now)
        self._sweep_fetched(now)
        self._sweep_gpus(now)

    def _sweep_jobs(self) -> set[str]:
        """Ids of the jobs that go on; those whose record expired leave the index."""
        live: set[str] = set()
        for page in self._pages():
            pipeline = self._redis.pipeline(transaction=False)
            for job in page:
                pipeline.hget(keys.job(job), "state")
            states = dict(zip(page, pipeline.execute(), strict=True))
            gone = [job for job, state in states.items() if state is None]
            if gone:
                self._redis.zrem(keys.JOBS, *gone)
            live.update(job for job, state in states.items() if state and not JobState(text(state)).is_final)
        return live

    def _pages(self) -> Iterator[list[str]]:
        found = [text(job) for job in cast("list[bytes]", self._redis.zrange(keys.JOBS, 0, -1))]
        for first in range(0, len(found), _PAGE):
            yield found[first : first + _PAGE]

    def _sweep_spool(self, live: set[str], now: float) -> None:
        """Audio of ended jobs goes, and beyond the cap the oldest: slots then read the file instead."""
        needed = {self._spool.folder(job) for job in live}
        folders = sorted(self._spool.folders(), key=_modified)
        excess = self._spool.used() - self._services.settings.spool_limit_bytes
        for folder in folders:
            is_over = excess > 0
            if is_over or (folder not in needed and now - _modified(folder) > _YOUNG):
                excess -= bytes_in(folder)
                shutil.rmtree(folder, ignore_errors=True)

    def _sweep_fetched(self, now: float) -> None:
        """What a process had fetched that was killed meanwhile: others remove it themselves."""
        for file in self._spool.directory.glob(f"{FETCHED}*"):
            if now - _modified(file) > _LEFT:
                file.unlink(missing_ok=True)

    def _sweep_gpus(self, now: float) -> None:
        for gpu in self._services.fleet.all():
            if now - gpu.heartbeat > _GONE:
                _log.warning("GPU %s sent no heartbeat for a day: it is no longer the fleet's", gpu.id)
                self._services.fleet.leave(gpu.id)
                self._redis.delete(gpu.queue)


def _modified(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return time.time()
