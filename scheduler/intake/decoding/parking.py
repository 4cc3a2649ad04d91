"""Takes up what intake put off: parked jobs, whose files are decoded only in part, and deferred ones, not read yet.

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
from whisper_fleet.scheduler.intake.places.places import Places
from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.audio.decode import BYTES_PER_SAMPLE, SAMPLE_RATE
from whisper_fleet.shared.connect import UNREACHABLE
from whisper_fleet.shared.errors import JobNotFound
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.planning.open_plans import OpenPlans

_log = logging.getLogger(__name__)

_INTERVAL = 0.5  # seconds between two looks
_RETRY_SECONDS = 5.0  # after an error of Redis


def take_up(services: Services, places: Places) -> int:
    """Send `transcribe` for the parked and the deferred jobs whose turn it is; return how many."""
    if not services.redis.exists(keys.PARKED_CLASSES, keys.DEFERRED_TENANTS):
        return 0
    return resume_parked(services, places) + read_deferred(services, places)


def resume_parked(services: Services, places: Places) -> int:
    """Send `transcribe` for as many parked jobs as this host has decoders free; return how many."""
    if not services.redis.exists(keys.PARKED_CLASSES):
        return 0
    reading, free = places.look(), free_permits(services.settings)
    if reading.places:
        free = min(free, reading.free)
    if not free:
        return 0
    size = round(services.settings.segment_duration * SAMPLE_RATE * BYTES_PER_SAMPLE)
    unfinished = pressure(size, fleet_slots(services), services.settings).resumes_at
    plans, now = OpenPlans(services.redis, services.name), services.ledger.now()
    return sum(_send(services, job) for job in plans.resume(free, unfinished, now, reading.full_tenants))


def read_deferred(services: Services, places: Places) -> int:
    """Send `transcribe` for the deferred jobs whose files may be read now; return how many."""
    sent = 0
    while (job := places.next_deferred()) is not None:
        sent += _send(services, job)
    return sent


def _send(services: Services, job: str) -> bool:
    try:
        services.actions.publish_transcribe(services.ledger.job(job), is_its_turn=True)
    except JobNotFound:  # forgotten meanwhile
        return False
    return True


class PutOffJobs:
    """A thread that takes up parked and deferred jobs."""

    def __init__(self, services: Callable[[], Services]) -> None:
        self._services = services
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="put-off-jobs", daemon=True).start()

    def stop(self) -> None:
        """Let the thread end; what is put off stays so."""
        self._stopped.set()

    def _run(self) -> None:
        places: Places | None = None
        while not self._stopped.is_set():
            pause = _INTERVAL
            try:
                places = places or Places(self._services())
                if self._services().redis.exists(keys.READING):
                    places.look()  # forgets those that ran out
                take_up(self._services(), places)
            except (*UNREACHABLE, RedisError, OSError):  # whatever else needs Redis logs it
                pause = _RETRY_SECONDS
            except Exception:
                _log.exception("parked and deferred jobs cannot be taken up")
                pause = _RETRY_SECONDS
            self._stopped.wait(pause)
