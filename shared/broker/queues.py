"""Reads Celery's message queues in Redis, in the layout that Kombu gives them."""

from __future__ import annotations

from kombu.transport.redis import Channel
from redis import Redis


def queue_length(redis: Redis, queue: str) -> int:
    """Return how many messages of any priority wait in a queue, in one round trip.

    Messages that a node has received and not yet acknowledged are not counted.
    """
    pipeline = redis.pipeline(transaction=False)
    for name in _lists(queue):
        pipeline.llen(name)
    return sum(pipeline.execute())


def _lists(queue: str) -> list[str]:
    """Kombu keeps a list for each step of priority: the first bears the queue's name, the others a suffix."""
    return [queue if step == 0 else f"{queue}{Channel.sep}{step}" for step in Channel.priority_steps]
