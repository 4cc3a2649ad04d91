"""A message that cannot be read is answered under its id, unless the id belongs to a job."""

from __future__ import annotations

import time

import pytest
from celery import Celery, states
from redis import Redis

from tests.support.ledger_by_hand import LedgerByHand, request
from whisper_fleet.scheduler.services import make_services
from whisper_fleet.scheduler.upkeep.dead_letters import DeadLetterDesk
from whisper_fleet.shared.broker import dead_letters
from whisper_fleet.shared.errors import MessageRejected
from whisper_fleet.shared.settings import Settings

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Call to deprecated setex"),  # by the result backend of Celery
]


@pytest.fixture
def ledger(redis: Redis) -> LedgerByHand:
    return LedgerByHand(redis)


@pytest.fixture
def app(redis_url: str) -> Celery:
    return Celery(broker=redis_url, backend=redis_url, set_as_current=False)


@pytest.fixture
def desk(app: Celery, redis_url: str) -> DeadLetterDesk:
    return DeadLetterDesk(make_services(app, Settings(redis_url=redis_url)))


def set_aside(redis: Redis, message: str) -> int:
    number = int(redis.incr(dead_letters.COUNT_KEY))
    letter = dead_letters.letter_json("transcribe", "its serializer is 'pickle'; send JSON", message)
    redis.hset(dead_letters.KEY, str(number), letter)
    return number


def test_the_client_gets_a_typed_failure_once(desk: DeadLetterDesk, app: Celery, redis: Redis) -> None:
    set_aside(redis, '{"headers": {"id": "a-job"}}')
    set_aside(redis, "{]")
    assert desk.tick() == 1
    answer = app.AsyncResult("a-job")
    assert answer.state == states.FAILURE
    with pytest.raises(MessageRejected, match="send JSON"):
        answer.get(timeout=5)
    assert desk.tick() == 0


def test_the_answer_of_a_job_is_not_replaced(
    desk: DeadLetterDesk, app: Celery, redis: Redis, ledger: LedgerByHand
) -> None:
    ledger.accept("known", request(), time.time())
    app.backend.store_result("ended", {"text": "words"}, states.SUCCESS)
    set_aside(redis, '{"headers": {"id": "known"}}')
    set_aside(redis, '{"headers": {"id": "ended"}}')
    assert desk.tick() == 0
    assert app.AsyncResult("known").state == states.PENDING
    assert app.AsyncResult("ended").state == states.SUCCESS


def test_only_what_is_kept_is_remembered_as_answered(desk: DeadLetterDesk, redis: Redis) -> None:
    number = set_aside(redis, '{"headers": {"id": "a-job"}}')
    desk.tick()
    letters = dead_letters.DeadLetters(redis)
    assert [letter.number for letter in letters.all()] == [number]
    assert letters.delete(number)
    desk.tick()
    assert redis.scard(dead_letters.ANSWERED_KEY) == 0
