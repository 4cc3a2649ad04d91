"""Dead letters: messages that were set aside because they could not be read, or killed their consumers.

Written by the scripts of the broker; read by `whisper-fleet dead-letters` and by upkeep, which answers those whose id
can be read.
"""

from __future__ import annotations

import json
import time
from typing import Any, cast

from pydantic import BaseModel
from redis import Redis

from whisper_fleet.shared.broker.receipt import task_id_of

#: hash number -> dead letter as JSON; the newest thousand. Writer: the scripts in shared/broker/lua.
KEY = "fleet:dead_letters"
#: counter of dead letters; never expires.
COUNT_KEY = "fleet:dead_letters_count"
#: set of the numbers of dead letters whose clients were answered. Writer: upkeep.
ANSWERED_KEY = "fleet:dead_letters_answered"


class DeadLetter(BaseModel, frozen=True):
    """One message that was set aside."""

    number: int
    queue: str  # the Redis list that it was taken from
    reason: str  # what was wrong with it
    at: float  # Unix seconds
    size: int  # bytes
    message: str  # its beginning

    @property
    def task_id(self) -> str | None:
        """The id under which a client waits for an answer, if it can be read."""
        return task_id_of(self.message)


class DeadLetters:
    """The dead letters of a fleet."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def all(self) -> list[DeadLetter]:
        """Return every dead letter that is kept, oldest first."""
        stored: Any = self._redis.hgetall(KEY)
        letters = [_letter_of(int(number), text) for number, text in stored.items()]
        return sorted(letters, key=lambda letter: letter.number)

    def unanswered(self) -> list[DeadLetter]:
        """Return the dead letters whose clients may still wait for an answer, oldest first."""
        letters = self.all()
        answered = {int(number) for number in cast("set[bytes]", self._redis.smembers(ANSWERED_KEY))}
        if forgotten := answered - {letter.number for letter in letters}:
            self._redis.srem(ANSWERED_KEY, *forgotten)
        return [letter for letter in letters if letter.number not in answered]

    def mark_answered(self, number: int) -> None:
        """Record that the client of a dead letter has its answer, or can have none."""
        self._redis.sadd(ANSWERED_KEY, number)

    def delete(self, number: int) -> bool:
        """Delete a dead letter and return whether there was one."""
        self._redis.srem(ANSWERED_KEY, number)
        return bool(self._redis.hdel(KEY, str(number)))


def letter_json(queue: str, reason: str, message: str) -> str:
    """Return a dead letter as the scripts store it."""
    letter = {"queue": queue, "reason": reason, "at": time.time(), "size": len(message.encode()), "message": message}
    return json.dumps(letter)


def _letter_of(number: int, stored: bytes | str) -> DeadLetter:
    text = stored.decode(errors="replace") if isinstance(stored, bytes) else stored
    return DeadLetter(number=number, **json.loads(text, strict=False))
