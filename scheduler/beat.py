"""The scheduler of beat: one beat of the fleet at a time sends the ticks, and skips those that Redis does not accept.

Several hosts may run a beat. The one that holds the lease sends the ticks; when it dies, another takes the lease within
`_LEASE_SECONDS`. Ticks that concern one host go to the queue of each host that is up.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

from celery.beat import Scheduler, SchedulingError
from celery.schedules import schedule
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import LockError, RedisError

from whisper_fleet.scheduler.hosts import live_hosts
from whisper_fleet.shared import names
from whisper_fleet.shared.broker.queues import queue_length
from whisper_fleet.shared.broker.watchdog import signs
from whisper_fleet.shared.connect import Outage, connect_fail_fast
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.process.probes import start_probes_of_process
from whisper_fleet.shared.process.reload import reloader
from whisper_fleet.shared.settings import Settings, load_settings

_log = logging.getLogger(__name__)
_Scheduler: Any = Scheduler  # its stubs lack apply_entry
_HOLDING, _SENDING = Outage("holding the lease", _log), Outage("sending ticks", _log)

#: A beat that has not renewed its lease for this long is replaced by another one: well within the time after which
#: a dead GPU is noticed, which is often on the same host.
_LEASE_SECONDS = 5.0
#: How often the lease is renewed, or tried to be taken.
_RENEWAL_SECONDS = _LEASE_SECONDS / 5
#: Messages in a queue of ticks after which no more are sent to it. They cannot expire instead: whoever takes them would
#: decide that by another clock, and a host that is minutes ahead would take none.
_MOST_WAITING = 8


def intervals(settings: Settings) -> dict[str, float]:
    """Return the seconds between two ticks by their names in the schedule, which is in celeryconfig.py."""
    return {
        "autoscale": settings.autoscale_interval,
        "dispatch": settings.dispatch_interval,
        "recover": settings.recovery_interval,
        "clean": settings.janitor_interval,
    }


class Lease:
    """The right to send the fleet's ticks, which one beat at a time holds."""

    def __init__(self, redis: Redis) -> None:
        self._lock = redis.lock(keys.BEAT_LEASE, timeout=_LEASE_SECONDS, blocking=False, thread_local=False)
        self._is_held = False

    def hold(self) -> bool:
        """Take the lease, or renew it, and return whether this beat holds it now. Raises Redis' errors."""
        was_held, self._is_held = self._is_held, False
        self._is_held = self._renewed() if was_held else bool(self._lock.acquire())
        if self._is_held != was_held:
            _log.info("this beat %s the ticks of the fleet", "sends" if self._is_held else "no longer sends")
        return self._is_held

    def release(self) -> None:
        """Let another beat take the lease at once."""
        if self._is_held:
            self._is_held = False
            self._lock.release()

    def _renewed(self) -> bool:
        try:
            return bool(self._lock.reacquire())
        except LockError:  # it expired while this process was stopped, or Redis unreachable
            return bool(self._lock.acquire())


class TickScheduler(_Scheduler):  # type: ignore[misc]
    """Celery's scheduler with a lease, and with two log lines per outage of Redis: Celery logs two tracebacks per tick.

    It keeps nothing on disk: a tick that is due is sent at once, and its work does not depend on the one before.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._redis = connect_fail_fast(self.app.conf.broker_url)
        self._lease = Lease(self._redis)
        reloader.start()

    def setup_schedule(self) -> None:
        """Read the schedule, of the scheduler that runs; Celery makes another one for its banner."""
        super().setup_schedule()
        start_probes_of_process()

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due if this beat holds the lease; return the seconds to wait until the next call."""
        signs.note()
        is_ours = False
        with _HOLDING.ignored():
            is_ours = self._lease.hold()
        if not is_ours:
            return _RENEWAL_SECONDS
        self._follow_intervals()
        return min(float(super().tick(*args, **kwargs)), _RENEWAL_SECONDS)

    def _follow_intervals(self) -> None:
        """Use the intervals that a reload changed, from the next tick on."""
        new = intervals(load_settings())
        changed = [entry for entry in self.schedule.values() if entry.schedule.seconds != new[entry.name]]
        for entry in changed:
            entry.schedule = schedule(new[entry.name])
        if changed:
            self._heap = None  # Celery orders it again

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send a tick to every queue that it is for. One that Redis does not accept is not sent later.

        Where ticks pile up, nobody takes them, and one more would change nothing.
        """
        with _SENDING.ignored():
            try:
                for queue in self._queues(entry):
                    if queue_length(self._redis, queue) >= _MOST_WAITING:
                        continue
                    addressed = copy.copy(entry)
                    addressed.options = {**entry.options, "queue": queue}
                    self.apply_async(addressed, producer=producer, advance=False)
            except SchedulingError as error:  # Celery's wrapper of whatever went wrong
                raise OperationalError(str(error)) from error

    def close(self) -> None:
        """Give up the lease, so that another beat sends the next tick."""
        try:
            self._lease.release()
        except (LockError, RedisError) as error:
            _log.info("the lease ends by itself: %s", error)
        super().close()

    def _queues(self, entry: Any) -> list[str]:
        """Return the queues of a tick: the one in its options, or that of each host that the tick concerns."""
        if entry.task not in (names.AUTOSCALE, names.CLEAN):
            return [entry.options["queue"]]
        hosts = live_hosts(self._redis)
        if entry.task == names.AUTOSCALE:
            hosts &= {gpu.host for gpu in GpuRegistry(self._redis).all()}
        return [names.scheduler_queue(host) for host in sorted(hosts)]
