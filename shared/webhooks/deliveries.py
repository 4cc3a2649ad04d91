"""The webhooks that are to be delivered, in Redis: a due set per receiving server, and leases on what is being sent.

An event is added once, in the same script as the change that it reports. A courier claims a delivery for as long as an
attempt may take. If the courier dies, the claim runs out and another one sends the event again, with the same id. So
every event arrives at least once, unless its receiver accepts nothing for a day: then it is kept as undeliverable.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis

from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.ledger.scripts import run, text
from whisper_fleet.shared.webhooks.events import PATIENCE_SECONDS, Event, job_data, job_event_id, target_of_url

#: Deliveries to one server at a time, in the whole fleet. A server whose last attempt failed gets one at a time.
PER_TARGET = 4
_TARGETS_PER_LOOK = 100


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """An event on its way to a URL; moments are Unix seconds."""

    event: Event
    url: str
    target: str  # the server of the URL
    owner: str  # the tenant whose secrets sign it
    give_up: float  # the last attempt is made then
    attempts: int  # made so far, with the one that is being made
    error: str | None  # why the last attempt failed
    token: str  # of the claim; a claim that ran out has another


class Deliveries:
    """Adds, claims and ends deliveries. Errors of Redis pass through; every call may be repeated."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def add(self, event: Event, url: str, owner: str) -> bool:
        """Let an event be delivered; return False if it already waits."""
        return bool(run(self._redis, "webhook_add", *fields_of(event, url, owner)))

    def claim(self, now: float, until: float, token: str) -> Delivery | None:
        """Claim the next delivery that is due, of the server that was served longest ago; None if none is due.

        If it has not ended by `until`, it may be claimed again.
        """
        found = run(self._redis, "webhook_claim", now, until, token, PER_TARGET, _TARGETS_PER_LOOK)
        return _delivery(found[0], _pairs(found[1])) if found else None

    def end_delivered(self, delivery: Delivery, now: float) -> bool:
        """Forget a delivery that its receiver accepted; False if the claim had run out."""
        return self._end(delivery, now, "delivered")

    def postpone(self, delivery: Delivery, due: float, error: str, now: float) -> bool:
        """Let a delivery be due again; False if the claim had run out."""
        return self._end(delivery, now, "later", due, error)

    def end_undeliverable(self, delivery: Delivery, error: str, now: float) -> bool:
        """Keep a delivery as undeliverable; False if the claim had run out."""
        return self._end(delivery, now, "undeliverable", now, error)

    def retry(self, event_id: str, now: float) -> bool:
        """Let an undeliverable or waiting event be due at once, for another day; False if it is not known."""
        return bool(run(self._redis, "webhook_retry", event_id, now, now + PATIENCE_SECONDS))

    def forget(self, before: float) -> int:
        """Forget the events that became undeliverable before this moment; return how many."""
        old = cast("list[bytes]", self._redis.zrangebyscore(keys.WEBHOOKS_FAILED, "-inf", before))
        for event in map(text, old):
            self._redis.delete(keys.webhook(event))
            self._redis.zrem(keys.WEBHOOKS_FAILED, event)
        return len(old)

    def waiting(self) -> list[Delivery]:
        """Return the deliveries that wait for their next attempt, oldest first."""
        return self._all(keys.WEBHOOKS)

    def undeliverable(self) -> list[Delivery]:
        """Return the deliveries that were given up, oldest first."""
        return self._all(keys.WEBHOOKS_FAILED)

    def counts(self) -> dict[str, int]:
        """Return how many wait and how many are undeliverable."""
        sizes = {"waiting": keys.WEBHOOKS, "undeliverable": keys.WEBHOOKS_FAILED}
        return {state: int(self._redis.zcard(key)) for state, key in sizes.items()}

    def _all(self, key: str) -> list[Delivery]:
        events = [text(event) for event in cast("list[bytes]", self._redis.zrange(key, 0, -1))]
        pipeline = self._redis.pipeline(transaction=False)
        for event in events:
            pipeline.hgetall(keys.webhook(event))
        records = zip(events, pipeline.execute(), strict=True)
        return [_delivery(event, fields) for event, fields in records if fields]

    def _end(self, delivery: Delivery, now: float, outcome: str, due: float = 0.0, error: str = "") -> bool:
        arguments = (delivery.event.id, delivery.token, now, outcome, due, error, PER_TARGET)
        return bool(run(self._redis, "webhook_end", *arguments))


def fields_of(event: Event, url: str, owner: str) -> list[str | float]:
    """Return the arguments with which the ledger's scripts add an event."""
    created, give_up = event.created, event.created + PATIENCE_SECONDS
    return [event.id, event.type, json.dumps(event.data), url, target_of_url(url), owner, created, give_up]


def job_webhook(record: JobRecord, now: float) -> list[str | float]:
    """Return the arguments with which the script `settle` adds the webhook of a job, which has a callback URL."""
    url, owner = str(record.request.callback_url), record.request.tenant
    data = json.dumps(job_data(record))
    return [job_event_id(record), data, url, target_of_url(url), owner, now + PATIENCE_SECONDS]


def _pairs(flat: list[bytes]) -> dict[bytes | str, bytes | str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _delivery(event: bytes | str, stored: dict[Any, Any]) -> Delivery:
    fields = {text(name): text(value) for name, value in stored.items()}
    return Delivery(
        event=Event(
            id=text(event), type=fields["type"], created=float(fields["created"]), data=json.loads(fields["data"])
        ),
        url=fields["url"],
        target=fields["target"],
        owner=fields["owner"],
        give_up=float(fields["give_up"]),
        attempts=int(fields.get("attempts", 0)),
        error=fields.get("error") or None,
        token=fields.get("token", ""),
    )
