"""A job's language: found by its first segment, and kept for all others."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.support.ledger_by_hand import GPU, LedgerByHand, plan, request, result
from whisper_fleet.shared.errors import JobCancelled, StaleAttempt
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.wire import SegmentMessage

pytestmark = pytest.mark.integration


@pytest.fixture
def ledger(redis: Redis) -> LedgerByHand:
    return LedgerByHand(redis)


def held(ledger: LedgerByHand, job: str = "j", segments: int = 3) -> str:
    """Enter a job whose first segment has to find the language."""
    assert ledger.accept(job, request(), 1.0)
    assert ledger.plan(job, plan(segments), 1.0, holds=True)
    return job


def waiting(ledger: LedgerByHand) -> list[int]:
    return [segment for lane in ledger.lanes(5000) for job in lane.jobs for segment in job.segments]


def started(ledger: LedgerByHand, segment: int) -> str | None:
    message = ledger.assigned("j", segment)
    return ledger.start(message, GPU, 120.0, 3.0).language


@pytest.mark.parametrize("segments", [2, 3, 2500])
def test_other_segments_wait_until_the_first_has_found_the_language(ledger: LedgerByHand, segments: int) -> None:
    held(ledger, segments=segments)
    assert waiting(ledger) == [0]
    first = ledger.running("j", 0)
    assert waiting(ledger) == [] and ledger.lanes(10) == []
    assert ledger.set_language(first, "es", 0.96875, 4.0) == "es"
    assert waiting(ledger) == list(range(1, segments))
    assert started(ledger, 1) == "es"
    record = ledger.job("j")
    assert (record.language, record.language_probability) == ("es", 0.96875)


def test_the_first_language_counts_and_the_call_may_be_repeated(ledger: LedgerByHand) -> None:
    held(ledger)
    first = ledger.running("j", 0)
    assert ledger.set_language(first, "es", 0.5, 4.0) == "es"
    ledger.running("j", 1)
    assert ledger.set_language(first, "es", 0.5, 4.0) == "es"
    assert ledger.set_language(first, "pt", 0.75, 5.0) == "es"
    assert waiting(ledger) == [2]
    assert ledger.job("j").language_probability == 0.5


def test_a_node_that_dies_before_it_found_the_language_is_replaced(ledger: LedgerByHand) -> None:
    held(ledger)
    first = ledger.running("j", 0)
    ledger.return_to_queue(first, "the node died", 5.0)
    assert waiting(ledger) == [0]
    with pytest.raises(StaleAttempt):
        ledger.set_language(first, "es", 0.5, 6.0)
    second = ledger.running("j", 0, now=7.0)
    assert ledger.set_language(second, "de", 0.5, 8.0) == "de"
    assert waiting(ledger) == [1, 2]


def test_an_attempt_after_the_language_was_found_does_not_look_again(ledger: LedgerByHand) -> None:
    held(ledger)
    first = ledger.running("j", 0)
    ledger.set_language(first, "es", 0.5, 4.0)
    ledger.return_to_queue(first, "the node died", 5.0)
    assert waiting(ledger) == [0, 1, 2]
    assert started(ledger, 0) == "es"


def test_a_first_segment_that_ends_without_a_language_gives_that_of_its_result(ledger: LedgerByHand) -> None:
    held(ledger)
    ledger.finish(ledger.running("j", 0), result("Hello."), 4.0)
    assert waiting(ledger) == [1, 2]
    record = ledger.job("j")
    assert (record.language, record.language_probability) == ("en", None)


def test_a_job_whose_first_segment_ran_on_an_older_node_goes_on(ledger: LedgerByHand) -> None:
    held(ledger)
    finished_by_an_older_node(ledger, ledger.running("j", 0))
    assert waiting(ledger) == []
    assert ledger.release_undetected(5.0) == ["j"]
    assert ledger.release_undetected(6.0) == []
    assert waiting(ledger) == [1, 2]
    assert started(ledger, 1) == "en"


def finished_by_an_older_node(ledger: LedgerByHand, message: SegmentMessage) -> None:
    """Finish a segment as the version before did, whose script knows of no held segments."""
    ledger.redis.hdel(keys.job("j"), "held")
    ledger.finish(message, result("Hello."), 4.0)
    ledger.redis.hset(keys.job("j"), "held", 1)


def test_a_job_that_still_looks_for_its_language_is_left_alone(ledger: LedgerByHand) -> None:
    held(ledger)
    assert ledger.release_undetected(5.0) == []
    ledger.running("j", 0)
    assert ledger.release_undetected(6.0) == []
    assert ledger.redis.zscore(keys.UNDETECTED, "j") == 6.0


@pytest.mark.parametrize("ends", ["cancelled", "expired"])
def test_a_job_that_ended_is_forgotten(ledger: LedgerByHand, ends: str) -> None:
    held(ledger)
    first = ledger.running("j", 0)
    if ends == "cancelled":
        ledger.cancel("j", 4.0)
        with pytest.raises(JobCancelled):
            ledger.set_language(first, "es", 0.5, 5.0)
    else:
        ledger.redis.delete(keys.job("j"))
    assert ledger.release_undetected(6.0) == []
    assert ledger.redis.zcard(keys.UNDETECTED) == 0
    assert waiting(ledger) == []


def test_a_job_whose_language_is_known_holds_nothing(ledger: LedgerByHand) -> None:
    ledger.planned("j", 3, language="de")
    assert waiting(ledger) == [0, 1, 2]
    assert started(ledger, 1) is None
