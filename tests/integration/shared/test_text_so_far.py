"""The text of a job while it runs: in order, readable from any position, whoever reads."""

from __future__ import annotations

import asyncio

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tests.support.ledger_by_hand import LedgerByHand, result
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.text_so_far import TextPosition, read_text

START = TextPosition()

pytestmark = pytest.mark.integration


@pytest.fixture
def ledger(redis: Redis) -> LedgerByHand:
    return LedgerByHand(redis)


def read(url: str, position: TextPosition = START) -> tuple[str, TextPosition]:
    async def once() -> tuple[str, TextPosition]:
        async with AsyncRedis.from_url(url) as client:
            return await read_text(client, "j", position)

    return asyncio.run(once())


def test_text_is_read_in_order_and_only_what_is_new(ledger: LedgerByHand, redis_url: str) -> None:
    ledger.planned("j", 2)
    first, second = ledger.running("j", 0), ledger.running("j", 1)
    ledger.progress(second, 30.0, 120.0, 4.0, text=" World")
    assert read(redis_url) == ("", TextPosition())  # the first segment's text comes first
    ledger.progress(first, 30.0, 120.0, 4.0, text=" Hällo")
    text, position = read(redis_url)
    assert (text, position) == (" Hällo", TextPosition(0, 6))
    ledger.progress(first, 60.0, 120.0, 5.0, text=" Hällo there,")
    text, position = read(redis_url, position)
    assert text == " there,"
    ledger.finish(first, result(" Hällo there, my"), 6.0)
    assert read(redis_url, position) == (" my World", TextPosition(1, 6))
    ledger.finish(second, result(" World."), 7.0)
    assert read(redis_url, TextPosition(1, 6)) == (".", TextPosition(2))
    assert read(redis_url) == (" Hällo there, my World.", TextPosition(2))


def test_a_second_attempt_repeats_nothing(ledger: LedgerByHand, redis_url: str) -> None:
    ledger.planned("j", 1)
    lost = ledger.running("j")
    ledger.progress(lost, 60.0, 120.0, 4.0, text=" one two")
    _, position = read(redis_url)
    ledger.return_to_queue(lost, "it crashed", 5.0)
    again = ledger.running("j")
    ledger.progress(again, 30.0, 120.0, 6.0, text=" one")
    assert read(redis_url, position) == ("", position)
    ledger.progress(again, 90.0, 120.0, 7.0, text=" one two three")
    assert read(redis_url, position) == (" three", TextPosition(0, 14))


def test_a_report_without_text_keeps_it_and_a_settled_job_lets_it_expire(
    ledger: LedgerByHand, redis: Redis, redis_url: str
) -> None:
    ledger.planned("j", 1)
    message = ledger.running("j")
    ledger.progress(message, 30.0, 120.0, 4.0, text=" one")
    ledger.progress(message, 60.0, 120.0, 5.0)
    assert read(redis_url)[0] == " one"
    ledger.cancel("j", 6.0)
    ledger.settle("j", 7.0)
    assert 0 < int(redis.ttl(keys.text_so_far("j"))) <= 3600


@pytest.mark.parametrize("written", ["", "1", "1.x", "-1.0", "1.2.3", "1.9999999999"])
def test_a_position_that_nobody_wrote_is_none(written: str) -> None:
    assert TextPosition.parse(written) is None
    assert TextPosition.parse(str(TextPosition(3, 14))) == TextPosition(3, 14)
