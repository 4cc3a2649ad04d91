"""Every transition of the ledger, on a real Redis."""

from __future__ import annotations

import math

import pytest
from celery import Celery
from redis import Redis

from tests.support.ledger_by_hand import GPU, LedgerByHand, plan, request, result
from whisper_fleet.shared.errors import JobCancelled, JobNotFound, StaleAttempt
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.actions import JobActions
from whisper_fleet.shared.wire import Assignment, JobState

pytestmark = pytest.mark.integration


@pytest.fixture
def ledger(redis: Redis) -> LedgerByHand:
    return LedgerByHand(redis)


def test_a_job_of_two_segments_goes_its_way(ledger: LedgerByHand) -> None:
    assert ledger.accept("j", request(language="de"), 1.0)
    assert ledger.job("j").state is JobState.ACCEPTED
    assert ledger.plan("j", plan(2), 2.0)
    first, second = ledger.assigned("j", 0), ledger.assigned("j", 1)
    work = ledger.start(first, GPU, 120.0, 3.0)
    ledger.start(second, GPU, 120.0, 3.0)
    assert (work.request.language, work.plan.end, work.attempt) == ("de", 300.0, 1)
    shown = ledger.progress(first, 30.0, 120.0, 4.0)
    assert shown is not None
    assert (shown.stage, shown.seconds_done, shown.seconds_total) == ("transcribing", 30.0, 600.0)
    assert not ledger.finish(first, result("One."), 5.0).last
    end = ledger.finish(second, result("Two."), 6.0)
    assert end.last and end.progress is not None and end.progress.stage == "assembling"
    assert [one.text for one in ledger.results("j")] == ["One.", "Two."]
    ledger.settle("j", 7.0)
    record = ledger.job("j")
    assert (record.state, record.ended) == (JobState.DONE, 7.0)
    assert (record.segments_done, record.seconds_done) == (2, 600.0)
    assert ledger.loads([GPU]) == [0] and ledger.lanes(10) == []


def test_a_job_is_accepted_once_but_the_same_call_may_be_repeated(ledger: LedgerByHand) -> None:
    assert ledger.accept("j", request(), 1.0)
    assert ledger.accept("j", request(), 1.0)
    assert not ledger.accept("j", request(), 2.0)


def test_a_job_is_planned_once_but_the_same_call_may_be_repeated(ledger: LedgerByHand) -> None:
    ledger.planned("j", 2, now=1.0)
    assert ledger.plan("j", plan(2), 1.0)
    assert not ledger.plan("j", plan(3), 2.0)
    assert ledger.job("j").segments_total == 2


def test_unknown_jobs_are_said_to_be_unknown(ledger: LedgerByHand) -> None:
    with pytest.raises(JobNotFound):
        ledger.job("nothing")
    with pytest.raises(JobNotFound):
        ledger.cancel("nothing", 1.0)
    with pytest.raises(JobNotFound):
        ledger.begin("nothing", JobState.ACCEPTED, "a", 2.0, 1.0)


@pytest.mark.parametrize("other", ["x:plan", "x:segments", "x:results", "x:waiting", "x%3Aplan"])
def test_an_id_that_looks_like_a_part_of_another_job_is_a_job_of_its_own(ledger: LedgerByHand, other: str) -> None:
    ledger.planned("x")
    with pytest.raises(JobNotFound):
        ledger.job(other)
    ledger.planned(other)
    for job in ("x", other):
        ledger.finish(ledger.running(job), result(job), 4.0)
        assert len(ledger.plans(job)) == 1
        assert [one.text for one in ledger.results(job)] == [job]


def test_a_cancelled_job_cannot_be_planned(ledger: LedgerByHand) -> None:
    ledger.accept("j", request(), 1.0)
    assert ledger.cancel("j", 2.0)
    assert not ledger.begin("j", JobState.ACCEPTED, "a", 9.0, 3.0)
    assert not ledger.plan("j", plan(1), 3.0)
    assert ledger.lanes(10) == []


def test_a_segment_is_assigned_once(ledger: LedgerByHand) -> None:
    ledger.planned("j")
    one = Assignment(job="j", segment=0, gpu=GPU, token="a", slots=9)
    assert ledger.assign([one], 30.0, 2.0) == [True]
    assert ledger.assign([one], 30.0, 2.0) == [True]
    assert ledger.assign([one.model_copy(update={"token": "b"})], 30.0, 2.0) == [False]
    assert ledger.loads([GPU]) == [1]


def test_a_full_gpu_is_refused(ledger: LedgerByHand) -> None:
    ledger.planned("j", 3)
    asked = [Assignment(job="j", segment=i, gpu=GPU, token=str(i), slots=2) for i in range(3)]
    assert ledger.assign(asked, 30.0, 2.0) == [True, True, False]
    assert ledger.loads([GPU]) == [2]
    assert ledger.segment_is_waiting("j", 2)


def test_a_message_delivered_twice_starts_once_but_the_call_may_be_repeated(ledger: LedgerByHand) -> None:
    message = ledger.assigned(ledger.planned("j"))
    assert ledger.start(message, GPU, 120.0, 3.0) == ledger.start(message, GPU, 120.0, 3.0)
    with pytest.raises(StaleAttempt):
        ledger.start(message, GPU, 120.0, 3.5)


def test_a_segment_that_starts_on_another_gpu_counts_there(ledger: LedgerByHand) -> None:
    message = ledger.assigned(ledger.planned("j"))
    ledger.start(message, "host.1", 120.0, 3.0)
    assert ledger.loads([GPU, "host.1"]) == [0, 1]
    assert "host.1" in ledger.active_gpus()  # else recovery would never look there


def test_the_first_result_wins_and_a_late_one_is_dropped(ledger: LedgerByHand) -> None:
    late = ledger.running(ledger.planned("j", 2))
    ledger.return_to_queue(late, "its lease ran out", 200.0)
    prompt = ledger.running("j", now=201.0)
    with pytest.raises(StaleAttempt):
        ledger.finish(late, result("late"), 202.0)
    with pytest.raises(StaleAttempt):
        ledger.progress(late, 30.0, 120.0, 202.0)
    ledger.finish(prompt, result("prompt"), 203.0)
    with pytest.raises(StaleAttempt):
        ledger.finish(late, result("late"), 204.0)
    assert [one.text for one in ledger.results("j")] == ["prompt"]
    assert ledger.job("j").segments_done == 1


def test_finishing_again_with_the_same_token_tells_again_that_it_was_the_last(ledger: LedgerByHand) -> None:
    message = ledger.running(ledger.planned("j"))
    assert ledger.finish(message, result(), 4.0).last
    assert ledger.finish(message, result("other"), 5.0).last
    assert ledger.job("j").segments_done == 1
    assert [one.text for one in ledger.results("j")] == ["Hello."]


def test_progress_is_shown_at_most_twice_a_second_and_always_at_the_end(ledger: LedgerByHand) -> None:
    message = ledger.running(ledger.planned("j"))
    shown = [ledger.progress(message, 30.0 * i, 120.0, 10.0 + 0.2 * i) is not None for i in range(6)]
    assert shown == [True, False, False, True, False, False]
    assert ledger.finish(message, result(), 11.1).progress is not None


def test_a_failed_attempt_waits_again_with_the_next_attempt(ledger: LedgerByHand) -> None:
    message = ledger.running(ledger.planned("j"))
    for seconds in (4.87, 36.63, 37.92):  # which do not add up in binary
        ledger.progress(message, seconds, 120.0, 4.0)
    assert not ledger.return_to_queue(message, "the engine died", 5.0).job_failed
    assert ledger.job("j").seconds_done == 0.0
    assert ledger.loads([GPU]) == [0]
    again = ledger.assigned("j", now=6.0)
    assert ledger.start(again, GPU, 120.0, 6.0).attempt == 2


def test_a_segment_that_fails_every_time_fails_its_job(ledger: LedgerByHand) -> None:
    ledger.planned("j", 2)
    other = ledger.running("j", 1)
    outcomes = [ledger.return_to_queue(ledger.running("j", 0), "boom", 10.0).job_failed for _ in range(3)]
    assert outcomes == [False, False, True]
    record = ledger.job("j")
    assert (record.state, record.error_type) == (JobState.FAILED, "SegmentFailed")
    assert record.error == "Segment 0 of job j failed 3 times, the last time with: boom"
    with pytest.raises(JobCancelled):
        ledger.progress(other, 30.0, 120.0, 11.0)
    assert ledger.loads([GPU]) == [0]
    assert ledger.lanes(10) == []


def test_handing_over_does_not_count_as_an_attempt(ledger: LedgerByHand) -> None:
    ledger.planned("j")
    for _ in range(5):
        ledger.reassign(ledger.running("j"), 4.0)
    message = ledger.assigned("j")
    assert ledger.start(message, GPU, 120.0, 5.0).attempt == 1


def test_giving_back_twice_is_stale(ledger: LedgerByHand) -> None:
    message = ledger.running(ledger.planned("j"))
    ledger.return_to_queue(message, "boom", 4.0)
    with pytest.raises(StaleAttempt):
        ledger.return_to_queue(message, "boom", 5.0)
    with pytest.raises(StaleAttempt):
        ledger.reassign(message, 5.0)


@pytest.mark.parametrize("state", ["waiting", "assigned", "running"])
def test_a_job_can_be_cancelled_whatever_its_segment_does(ledger: LedgerByHand, state: str) -> None:
    ledger.planned("j")
    message = None if state == "waiting" else getattr(ledger, state)("j")
    assert ledger.cancel("j", 5.0)
    assert ledger.cancel("j", 5.0)
    assert not ledger.cancel("j", 6.0)
    assert ledger.lanes(10) == []
    if message:
        with pytest.raises(JobCancelled):
            ledger.start(message, GPU, 120.0, 6.0)
        assert ledger.loads([GPU]) == [0]


def test_results_and_failures_of_a_cancelled_job_are_refused(ledger: LedgerByHand) -> None:
    message = ledger.running(ledger.planned("j"))
    ledger.cancel("j", 4.0)
    with pytest.raises(JobCancelled):
        ledger.finish(message, result(), 5.0)
    with pytest.raises(JobCancelled):
        ledger.return_to_queue(message, "boom", 5.0)
    assert not ledger.fail("j", "ValueError", "boom", 6.0)
    assert ledger.job("j").state is JobState.CANCELLED


def test_overdue_names_what_did_not_start_and_what_shows_no_progress(ledger: LedgerByHand) -> None:
    ledger.planned("j", 3)
    never_started = ledger.assigned("j", 0, now=0.0)
    silent = ledger.running("j", 1, now=0.0)
    lively = ledger.running("j", 2, now=0.0)
    assert ledger.overdue(GPU, 29.0) == []
    assert ledger.overdue(GPU, 31.0) == [(never_started, False)]
    ledger.progress(lively, 30.0, 120.0, 100.0)
    assert ledger.overdue(GPU, 121.0) == [(never_started, False), (silent, True)]
    assert len(ledger.overdue(GPU, math.inf)) == 3
    assert ledger.active_gpus() == {GPU}


def test_a_gpu_that_has_nothing_any_more_is_no_longer_active(ledger: LedgerByHand) -> None:
    message = ledger.running(ledger.planned("j", 2))
    ledger.cancel("j", 4.0)
    assert ledger.overdue(GPU, math.inf) == []
    assert ledger.active_gpus() == set()
    assert ledger.loads([GPU]) == [0]
    with pytest.raises(JobCancelled):
        ledger.progress(message, 1.0, 120.0, 5.0)


def test_a_step_that_does_not_come_is_due_until_the_job_is_settled(ledger: LedgerByHand) -> None:
    ledger.accept("lost", request(), 0.0)
    ledger.planned("j", now=0.0)
    assert ledger.due(5.0, 99.0) == []
    assert ledger.due(11.0, 99.0) == [("lost", JobState.ACCEPTED, False)]
    assert ledger.due(12.0, 99.0) == []
    ledger.finish(ledger.running("j"), result(), 20.0)
    assert ledger.due(31.0, 99.0) == [("j", JobState.ASSEMBLING, False)]
    ledger.settle("j", 32.0)
    ledger.cancel("lost", 40.0)
    assert ledger.due(100.0, 200.0) == [("lost", JobState.CANCELLED, False)]
    ledger.settle("lost", 101.0)
    assert ledger.due(math.inf, 300.0) == []


def test_an_ended_job_is_forgotten_in_time(ledger: LedgerByHand, redis: Redis) -> None:
    ledger.finish(ledger.running(ledger.planned("j")), result(), 4.0)
    assert redis.ttl(keys.job("j")) == -1
    ledger.settle("j", 5.0)
    assert 86000 < redis.ttl(keys.job("j")) <= 86400
    assert 3500 < redis.ttl(keys.results("j")) <= 3600
    left = {str(key, "ascii") if isinstance(key, bytes) else key for key in redis.keys("fleet:*")}
    assert not any(key.startswith(("fleet:lane", "fleet:due", "fleet:active:")) for key in left)


def test_a_job_id_may_hold_colons_and_spaces(ledger: LedgerByHand) -> None:
    job = "my: strange:id 7"
    message = ledger.running(ledger.planned(job))
    assert ledger.overdue(GPU, math.inf) == [(message, True)]
    assert ledger.lanes(10) == []


def test_ten_thousand_segments_are_planned_and_handed_out(ledger: LedgerByHand) -> None:
    ledger.planned("j", 10_000)
    assert ledger.job("j").segments_total == 10_000
    [lane] = ledger.lanes(64)
    assert len(lane.jobs[0].segments) >= 64
    asked = [Assignment(job="j", segment=i, gpu=GPU, token=str(i), slots=64) for i in lane.jobs[0].segments]
    assert sum(ledger.assign(asked, 30.0, 2.0)) == 64
    assert ledger.segment_is_waiting("j", 64)


@pytest.mark.parametrize("end", ["cancel", "fail"])
def test_a_slot_whose_attempt_ended_its_job_is_free_at_once(redis: Redis, end: str) -> None:
    ledger = LedgerByHand(redis)
    actions = JobActions(ledger, Celery(broker="memory://"))
    message = ledger.running(ledger.planned("j"))
    if end == "cancel":
        actions.cancel("j", 4.0)
    else:
        actions.fail("j", "ValueError", "boom", 4.0)
    assert ledger.loads([GPU]) == [1]
    actions.free_slot(message, 5.0)
    assert ledger.loads([GPU]) == [0]
    assert not ledger.segment_is_waiting("j")
