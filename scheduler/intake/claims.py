"""Claims: one intake process at a time plans or assembles a job, and processes that die with a job are counted.

A claim is renewed in a thread beside the work. While Redis is unreachable the renewal pauses longer and longer, as
everything that waits for Redis does; the claim runs out, and the ledger lets another process take the step.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.connect import Outage
from whisper_fleet.shared.errors import JobError
from whisper_fleet.shared.wire import JobState

#: Seconds that a claim on a job lasts, and seconds after which it is renewed.
CLAIM_SECONDS = 30.0
_RENEW = 10.0

_RENEWALS = Outage("renewing claims", logging.getLogger(__name__))


class _Done(Exception):
    """The step ended, so its claim is renewed no longer."""


@contextlib.contextmanager
def claimed(
    services: Services, job: str, step: JobState, renew_too: Callable[[], object] = lambda: None
) -> Iterator[bool]:
    """Claim the next step of a job; yield whether this process has the claim, which lasts until the context ends.

    `renew_too` is called whenever the claim is renewed. Raises PlanningFailed or AssemblyFailed if too many processes
    died with the job.
    """

    def claim() -> bool:
        now = services.ledger.now()
        return services.ledger.begin(job, step, services.name, now + CLAIM_SECONDS, now)

    if not claim():
        yield False
        return

    def renew() -> None:
        renew_too()
        with contextlib.suppress(JobError):  # the job's own next step raises the same
            claim()

    with _renewed(renew, job):
        yield True


@contextlib.contextmanager
def _renewed(renew: Callable[[], None], job: str) -> Iterator[None]:
    """Renew the claim in a thread: a long file takes longer than a claim lasts."""
    done = threading.Event()

    def wait(seconds: float) -> None:
        if done.wait(seconds):
            raise _Done

    def keep() -> None:
        with contextlib.suppress(_Done):
            while True:
                wait(_RENEW)
                _RENEWALS.retried(renew, wait)

    renewing = threading.Thread(target=keep, name=f"claim-{job}", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join()
