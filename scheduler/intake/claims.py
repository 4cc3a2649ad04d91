"""Claims: one intake process at a time plans or assembles a job, and processes that die with a job are counted."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from redis.exceptions import RedisError

from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.errors import JobError
from whisper_fleet.shared.wire import JobState

#: Seconds that a claim on a job lasts, and seconds after which it is renewed.
CLAIM_SECONDS = 30.0
_RENEW = 10.0


@contextlib.contextmanager
def claimed(services: Services, job: str, step: JobState) -> Iterator[bool]:
    """Claim the next step of a job; yield whether this process has the claim, which lasts until the context ends.

    Raises PlanningFailed or AssemblyFailed if too many processes died with the job.
    """

    def claim() -> bool:
        now = services.ledger.now()
        return services.ledger.begin(job, step, services.name, now + CLAIM_SECONDS, now)

    if not claim():
        yield False
        return
    with _renewed(claim, job):
        yield True


@contextlib.contextmanager
def _renewed(claim: Callable[[], bool], job: str) -> Iterator[None]:
    """Renew the claim in a thread: a long file takes longer than a claim lasts."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(_RENEW):
            with contextlib.suppress(RedisError, JobError):  # the job's own next step raises the same
                claim()

    renewing = threading.Thread(target=renew, name=f"claim-{job}", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join()
