"""When a webhook is tried again, and when it is given up."""

from __future__ import annotations

from itertools import pairwise

import pytest

from whisper_fleet.scheduler.webhooks.attempts import Outcome, Reply, outcome_of, retry_after_seconds

DAY = 86400.0


def outcome(reply: Reply, *, attempts: int = 1, now: float = 0.0, give_up: float = DAY, spread: float = 0.0) -> Outcome:
    return outcome_of(reply, attempts=attempts, now=now, give_up=give_up, spread=spread)


def test_what_the_receiver_accepted_is_delivered() -> None:
    assert outcome(Reply(status=204)).kind == "delivered"


def test_a_receiver_that_fails_for_a_day_is_tried_often_at_first_and_last_when_the_day_is_over() -> None:
    moments, now, attempts = [0.0], 0.0, 1
    while (result := outcome(Reply(error="refused"), attempts=attempts, now=now)).kind == "later":
        now, attempts = result.due, attempts + 1
        moments.append(now)
    assert result == Outcome(kind="undeliverable", error="refused")
    assert moments[:4] == [0, 5, 20, 65]
    assert moments[-1] == DAY
    assert 12 <= len(moments) <= 16
    assert max(later - earlier for earlier, later in pairwise(moments)) <= 4 * 3600


def test_what_failed_together_is_not_repeated_together() -> None:
    early, late = (outcome(Reply(error="refused"), attempts=4, spread=spread).due for spread in (0.0, 1.0))
    assert (early, late) == (135, 162)


@pytest.mark.parametrize(("asks", "due"), [(600.0, 600.0), (1.0, 5.0), (1e9, 4 * 3600.0)])
def test_a_receiver_says_when_it_wants_the_next_call_within_limits(asks: float, due: float) -> None:
    assert outcome(Reply(status=503, error="busy", retry_after=asks)).due == due


def test_a_receiver_that_is_gone_is_called_no_more() -> None:
    assert outcome(Reply(status=410, error="the receiver answered 410")).kind == "undeliverable"


def test_many_attempts_do_not_overflow() -> None:
    assert outcome(Reply(error="refused"), attempts=10_000).due == 4 * 3600


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120.0), (None, None), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None), ("9" * 400, None)],
)
def test_a_retry_after_header_is_read_in_seconds(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header) == seconds
