"""Delivers webhooks in threads of an intake node, beside its tasks.

The courier claims what is due from the ledger, at most so many calls at a time, and records what came of each. A
receiver that is slow holds as many calls as the ledger allows per server, and no job. What a node was sending when it
was killed is claimed again when the lease has run out.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable
from typing import cast

from redis.exceptions import RedisError

from whisper_fleet.scheduler.services import Services
from whisper_fleet.scheduler.webhooks.attempts import outcome_of
from whisper_fleet.scheduler.webhooks.sending import CALL_SECONDS, send
from whisper_fleet.shared import tracing
from whisper_fleet.shared.connect import UNREACHABLE
from whisper_fleet.shared.display.log_fields import log_fields
from whisper_fleet.shared.display.text import printable
from whisper_fleet.shared.errors import JobNotFound
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.webhooks.deliveries import Deliveries, Delivery
from whisper_fleet.shared.webhooks.events import Event, job_data, job_event_id
from whisper_fleet.shared.webhooks.secrets import SecretStore

_log = logging.getLogger(__name__)

_CALLS = 32  # at a time, per node
_IDLE_SECONDS = 1.0  # between two looks while nothing is due
_RETRY_SECONDS = 5.0  # after an error of Redis
#: Seconds of a claim: the call, and as long again for a Redis that is slow to record what came of it.
_LEASE_SECONDS = 2 * CALL_SECONDS


class Courier:
    """One thread that claims deliveries, and one per call that it makes."""

    def __init__(self, services: Callable[[], Services]) -> None:
        self._services = services
        self._stopped = threading.Event()
        self._free_calls = threading.Semaphore(_CALLS)

    def start(self) -> None:
        """Start to deliver."""
        threading.Thread(target=self._run, name="courier", daemon=True).start()

    def stop(self) -> None:
        """Claim nothing more. Calls that are being made end by themselves, or with the process."""
        self._stopped.set()

    def deliver_next(self) -> bool:
        """Start the call of the next delivery that is due; return False if there is none."""
        fleet = self._services()
        adopt_old_callbacks(fleet)
        self._free_calls.acquire()
        try:
            now = fleet.ledger.now()
            delivery = Deliveries(fleet.redis).claim(now, now + _LEASE_SECONDS, uuid.uuid4().hex)
            if delivery is not None:
                threading.Thread(target=self._call, args=(fleet, delivery), name="webhook", daemon=True).start()
        except BaseException:
            self._free_calls.release()
            raise
        if delivery is None:
            self._free_calls.release()
        return delivery is not None

    def _call(self, fleet: Services, delivery: Delivery) -> None:
        try:
            event = delivery.event
            traced = tracing.span("webhook", _trace_of(fleet, event), "client", url=delivery.url)
            with log_fields(webhook=event.id, tenant=delivery.owner, **_subject(event)), traced:
                deliver(fleet, delivery)
        except (*UNREACHABLE, RedisError) as error:
            _log.warning("webhook %s is sent again, its outcome could not be recorded: %s", delivery.event.id, error)
        except Exception:
            _log.exception("webhook %s failed in an unforeseen way", delivery.event.id)
        finally:
            self._free_calls.release()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                if self.deliver_next():
                    continue
                pause = _IDLE_SECONDS
            except (*UNREACHABLE, RedisError):  # other parts of the node log that Redis is unreachable
                pause = _RETRY_SECONDS
            except Exception:
                _log.exception("the courier of webhooks failed in an unforeseen way")
                pause = _RETRY_SECONDS
            self._stopped.wait(pause)


def _trace_of(fleet: Services, event: Event) -> str | None:
    """Return the trace of the job that an event is about; None if nobody traces, or it is about none."""
    if not tracing.is_on() or not event.type.startswith("job."):
        return None
    trace = cast("bytes | None", fleet.redis.hget(keys.job(str(event.data["id"])), "trace"))
    return None if trace is None else text(trace)


def _subject(event: Event) -> dict[str, object]:
    """Return the job that an event is about, if it is about one."""
    return {"job": event.data["id"]} if event.type.startswith("job.") else {}


def deliver(fleet: Services, delivery: Delivery) -> None:
    """Make one call, and record in the ledger what came of it."""
    deliveries = Deliveries(fleet.redis)
    secrets = SecretStore(fleet.redis).of(delivery.owner).valid_at(time.time())
    reply = send(delivery, secrets, fleet.settings, time.time())
    now, spread = fleet.ledger.now(), random.random()  # noqa: S311
    outcome = outcome_of(reply, attempts=delivery.attempts, now=now, give_up=delivery.give_up, spread=spread)
    what = f"{delivery.event.type} {delivery.event.data['id']} to {delivery.url}"
    match outcome.kind:
        case "delivered":
            deliveries.end_delivered(delivery, now)
        case "later":
            if deliveries.postpone(delivery, outcome.due, outcome.error, now):
                seconds = outcome.due - now
                _log.warning("%s", printable(f"webhook {what}: {outcome.error}; again in {seconds:.0f} s"))
        case "undeliverable":
            if deliveries.end_undeliverable(delivery, outcome.error, now):
                _log.error("%s", printable(f"webhook {what} is undeliverable: {outcome.error}"))


def adopt_old_callbacks(fleet: Services) -> None:
    """Make webhooks of the callbacks that nodes of an older version note during an upgrade."""
    due = cast("list[bytes]", fleet.redis.zrange(keys.CALLBACKS, 0, 99))
    for job in map(text, due):
        try:
            record = fleet.ledger.job(job)
        except JobNotFound:  # it is forgotten
            fleet.redis.zrem(keys.CALLBACKS, job)
            continue
        if url := record.request.callback_url:
            kind, ended = f"job.{record.state}", record.ended or fleet.ledger.now()
            event = Event(id=job_event_id(record), type=kind, created=ended, data=job_data(record))
            Deliveries(fleet.redis).add(event, url, record.request.tenant)
        fleet.redis.zrem(keys.CALLBACKS, job)
