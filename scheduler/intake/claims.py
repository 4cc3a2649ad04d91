"""A job is planned, and assembled, by one process of intake at a time; one that dies with it is counted."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from redis.exceptions import RedisError

from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.errors import JobError
from whisper_fleet.shared.wire import JobState

#: Seconds that a claim on a job lasts, and after how many it is renewed.
_CLAIM = 30.0
_RENEW = 10.0


@contextlib.contextmanager
def claimed(services: Services, job: str, step: JobState) -> Iterator[bool]:
    """Whether what follows a job's state is ours to do; it stays ours for as long as the context lasts.

    Raises PlanningFailed or AssemblyFailed when too many processes were lost with it.
    """

    def claim() -> bool:
        now = time.time()
        return services.ledger.begin(job, step, services.name, now + _CLAIM, now)

    if not claim():
        yield False
        return
    with _renewed(claim, job):
        yield True


@contextlib.contextmanager
def _renewed(claim: Callable[[], bool], job: str) -> Iterator[None]:
    """A long file takes longer than a claim lasts: renew it, so that nobody believes us dead."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(_RENEW):
            with contextlib.suppress(RedisError, JobError):  # what it comes to shows when the job goes on
                claim()

    renewing = threading.Thread(target=renew, name=f"claim-{job}", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join()
