"""Wakes the dispatcher when there is new work or a free slot, with at most one message on its way."""

from __future__ import annotations

from celery import Celery
from redis import Redis

from whisper_fleet.shared import names
from whisper_fleet.shared.ledger import keys

#: Milliseconds after which another message may be sent, in case the one on its way was lost.
FLAG_MILLISECONDS = 2000


def wake_dispatcher(app: Celery, redis: Redis) -> None:
    """Send `dispatch` unless one is already on its way."""
    if redis.set(keys.DISPATCH_FLAG, 1, nx=True, px=FLAG_MILLISECONDS):
        app.send_task(names.DISPATCH, queue=names.SCHEDULER_QUEUE, ignore_result=True)


def dispatcher_looks(redis: Redis) -> None:
    """Let wake-ups send a new message from now on; call it before a look, so that none is missed during it."""
    redis.delete(keys.DISPATCH_FLAG)
