"""Calls the dispatcher when there is something new to hand out: one message on its way is enough."""

from __future__ import annotations

from celery import Celery
from redis import Redis

from whisper_fleet.shared import names
from whisper_fleet.shared.ledger import keys

#: A message that was lost does not silence the dispatcher for longer than this.
FLAG_MILLISECONDS = 2000


def wake_dispatcher(app: Celery, redis: Redis) -> None:
    """Sends `dispatch` unless one is on its way already."""
    if redis.set(keys.DISPATCH_FLAG, 1, nx=True, px=FLAG_MILLISECONDS):
        app.send_task(names.DISPATCH, queue=names.SCHEDULER_QUEUE, ignore_result=True)


def dispatcher_looks(redis: Redis) -> None:
    """From here on a poke sends a new message: call it before looking, or what comes meanwhile is missed."""
    redis.delete(keys.DISPATCH_FLAG)
