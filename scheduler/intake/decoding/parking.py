"""Takes parked jobs up again: those whose files are decoded only in part, once a decoder is free for them.

Called by the process that ends a decoding, and by a thread of every intake node in case that process died. A job that
is chosen and lost again is found by recovery.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from redis.exceptions import RedisError

from whisper_fleet.scheduler.intake.decoding.decoder import fleet_slots
from whisper_fleet.scheduler.intake.decoding.permits import free_permits
from whisper_fleet.scheduler.intake.decoding.spooling import pressure
from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.audio.decode import BYTES_PER_SAMPLE, SAMPLE_RATE
from whisper_fleet.shared.connect import UNREACHABLE
from whisper_fleet.shared.errors import JobNotFound
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.planning.open_plans import OpenPlans

_log = logging.getLogger(__name__)

_INTERVAL = 0.5  # seconds between two looks
_RETRY_SECONDS = 5.0  # after an error of Redis


def resume_parked(services: Services) -> int:
    """Send `transcribe` for as many parked jobs as this host has decoders free; return how many."""
    if not services.redis.exists(keys.PARKED_CLASSES):
        return 0
    if not (free := free_permits(services.settings)):
        return 0
    resumed, size = 0, round(services.settings.segment_duration * SAMPLE_RATE * BYTES_PER_SAMPLE)
    unfinished = pressure(size, fleet_slots(services), services.settings).resumes_at
    for job in OpenPlans(services.redis, services.name).resume(free, unfinished, services.ledger.now()):
        try:
            services.actions.publish_transcribe(services.ledger.job(job))
        except JobNotFound:  # forgotten meanwhile
            continue
        resumed += 1
    return resumed


class ParkedJobs:
    """A thread that takes parked jobs up again."""

    def __init__(self, services: Callable[[], Services]) -> None:
        self._services = services
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="parked-jobs", daemon=True).start()

    def stop(self) -> None:
        """Let the thread end; parked jobs stay parked."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            pause = _INTERVAL
            try:
                resume_parked(self._services())
            except (*UNREACHABLE, RedisError, OSError):  # whatever else needs Redis logs it
                pause = _RETRY_SECONDS
            except Exception:
                _log.exception("parked jobs cannot be taken up")
                pause = _RETRY_SECONDS
            self._stopped.wait(pause)
