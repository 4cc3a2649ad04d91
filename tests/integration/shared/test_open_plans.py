"""Plans that grow while their file is decoded: who may extend them, what ends them, and what older versions see."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from tests.support.ledger_by_hand import GPU, LedgerByHand, plan, request, result
from whisper_fleet.shared.errors import JobCancelled, PlanningFailed
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.planning.open_plans import Closed, OpenPlans
from whisper_fleet.shared.wire import JobState, JobWarning, SegmentPlan

pytestmark = pytest.mark.integration


@pytest.fixture
def ledger(redis: Redis) -> LedgerByHand:
    return LedgerByHand(redis)


@pytest.fixture
def ours(redis: Redis) -> OpenPlans:
    return OpenPlans(redis, "ours")


def cuts(first: int, last: int) -> list[SegmentPlan]:
    return list(plan(last + 1).segments[first:])


def opened(ledger: LedgerByHand, job: str = "j", *, segments: int = 1, holds: bool = False, **fields: Any) -> str:
    """Enter a job and open its plan; the process `ours` has the claim until 40."""
    assert ledger.accept(job, request(**fields), 1.0)
    assert ledger.begin(job, JobState.ACCEPTED, "ours", 40.0, 2.0)
    assert ledger.plan(job, plan(segments).model_copy(update={"is_open": True}), 3.0, holds=holds)
    return job


def waiting(ledger: LedgerByHand) -> list[int]:
    return [segment for lane in ledger.lanes(5000) for job in lane.jobs for segment in job.segments]


def finish(ledger: LedgerByHand, segment: int, job: str = "j") -> bool:
    return ledger.finish(ledger.running(job, segment), result(), 4.0).last


def test_segments_run_before_the_plan_is_complete(ledger: LedgerByHand, ours: OpenPlans) -> None:
    opened(ledger)
    assert waiting(ledger) == [0]
    assert not finish(ledger, 0)
    assert ours.extend("j", cuts(1, 2), 50.0, 5.0) == 2
    assert waiting(ledger) == [1, 2]
    assert not finish(ledger, 1) and not finish(ledger, 2)
    assert ours.close("j", 3, cuts(3, 3), 6.0, duration=1200.0) == Closed(complete=False)
    assert finish(ledger, 3)
    record = ledger.job("j")
    assert (record.state, record.segments_total, record.duration) == (JobState.ASSEMBLING, 4, 1200.0)
    assert not record.is_open
    assert [segment.index for segment in ledger.plans("j")] == [0, 1, 2, 3]


def test_an_open_plan_has_no_end_to_show(ledger: LedgerByHand, ours: OpenPlans) -> None:
    opened(ledger)
    finish(ledger, 0)
    progress = ledger.job("j").progress(10.0)
    assert (progress.stage, progress.segments_done, progress.seconds_done) == ("transcribing", 1, 300.0)
    assert (progress.segments_total, progress.seconds_total, progress.eta) == (None, None, None)
    warning = JobWarning(kind="gap", message="a hole")
    ours.close("j", 1, cuts(1, 1), 6.0, duration=600.0, warnings=(warning,))
    progress = ledger.job("j").progress(10.0)
    assert (progress.segments_total, progress.seconds_total) == (2, 600.0)
    assert progress.eta is not None and progress.warnings == (warning,)


def test_a_call_that_is_repeated_adds_nothing(ledger: LedgerByHand, ours: OpenPlans) -> None:
    opened(ledger)
    for _ in range(2):
        assert ours.extend("j", cuts(1, 2), 50.0, 5.0) == 3
    for _ in range(2):
        assert ours.close("j", 3, cuts(3, 3), 6.0, duration=1200.0) == Closed(complete=False)
    assert waiting(ledger) == [0, 1, 2, 3]
    assert ours.close("j", 3, cuts(3, 3), 7.0, duration=1200.0) is None
    assert ours.extend("j", cuts(4, 4), 50.0, 8.0) is None


def test_known_segments_are_never_altered_and_none_is_left_out(ledger: LedgerByHand, ours: OpenPlans) -> None:
    opened(ledger)
    ours.extend("j", cuts(1, 1), 50.0, 5.0)
    other = [cuts(1, 1)[0].model_copy(update={"end": 599.0})]
    assert ours.extend("j", other, 50.0, 6.0) is None
    assert ours.extend("j", cuts(3, 3), 50.0, 6.0) is None
    assert ours.close("j", 3, cuts(3, 3), 6.0, duration=1200.0) is None
    assert ledger.plans("j") == cuts(0, 1)


def test_a_process_that_lost_its_claim_changes_nothing(ledger: LedgerByHand, redis: Redis, ours: OpenPlans) -> None:
    opened(ledger)
    assert not ledger.begin("j", JobState.ACCEPTED, "theirs", 60.0, 39.0)
    assert ledger.due(41.0, 71.0) == [("j", JobState.ACCEPTED, True)]
    assert ours.extend("j", cuts(1, 1), 50.0, 42.0) is None
    assert ledger.begin("j", JobState.ACCEPTED, "theirs", 80.0, 43.0)
    assert ours.close("j", 1, cuts(1, 1), 44.0, duration=600.0) is None
    assert not ours.park("j")
    theirs = OpenPlans(redis, "theirs")
    assert theirs.extend("j", cuts(1, 1), 90.0, 45.0) == 2


def test_a_claim_lasts_as_long_as_segments_come(ledger: LedgerByHand, ours: OpenPlans) -> None:
    opened(ledger)
    ours.extend("j", cuts(1, 1), 100.0, 39.0)
    assert ledger.due(99.0, 130.0) == []
    assert ledger.begin("j", JobState.ACCEPTED, "ours", 130.0, 99.0)
    assert ledger.due(129.0, 160.0) == []


def test_a_file_that_kills_its_decoders_is_not_decoded_for_ever(ledger: LedgerByHand) -> None:
    opened(ledger)
    assert ledger.due(41.0, 51.0) == [("j", JobState.ACCEPTED, True)]
    for death in (80.0, 120.0):
        assert ledger.begin("j", JobState.ACCEPTED, f"dies at {death}", death, death - 29)
        assert ledger.due(death, death + 10) == [("j", JobState.ACCEPTED, True)]
    with pytest.raises(PlanningFailed, match="3 intake processes"):
        ledger.begin("j", JobState.ACCEPTED, "another", 200.0, 131.0)


def test_decoders_that_get_further_than_those_before_are_not_counted(ledger: LedgerByHand, redis: Redis) -> None:
    opened(ledger)
    ledger.due(41.0, 51.0)
    for number, death in enumerate((80.0, 120.0, 160.0, 200.0), start=1):
        name = f"dies at {death}"
        assert ledger.begin("j", JobState.ACCEPTED, name, death, death - 20)
        assert OpenPlans(redis, name).extend("j", cuts(number, number), death, death - 10) is not None
        assert ledger.due(death, death + 10) == [("j", JobState.ACCEPTED, True)]


@pytest.mark.parametrize("end", ["cancel", "fail", "last attempt"])
def test_a_job_that_ends_meanwhile_gets_no_more_segments(
    ledger: LedgerByHand, redis: Redis, ours: OpenPlans, end: str
) -> None:
    opened(ledger)
    first = ledger.running("j", 0)
    if end == "cancel":
        assert ledger.cancel("j", 4.0)
    elif end == "fail":
        assert ledger.fail("j", "CorruptAudio", "torn", 4.0)
    else:
        for _ in range(3):
            failed = ledger.return_to_queue(first, "broken", 4.0).job_failed
            first = first if failed else ledger.running("j", 0)
    assert ours.extend("j", cuts(1, 1), 50.0, 5.0) is None
    assert ours.close("j", 1, cuts(1, 1), 5.0, duration=600.0) is None
    assert waiting(ledger) == [] and not redis.exists(keys.OPEN)
    with pytest.raises(JobCancelled):
        ledger.progress(first, 1.0, 120.0, 6.0)


def test_segments_that_are_added_wait_for_the_language_of_the_first(ledger: LedgerByHand, ours: OpenPlans) -> None:
    opened(ledger, holds=True)
    first = ledger.running("j", 0)
    ours.extend("j", cuts(1, 2), 50.0, 5.0)
    assert waiting(ledger) == []
    ledger.set_language(first, "es", 0.5, 6.0)
    assert waiting(ledger) == [1, 2]
    ours.extend("j", cuts(3, 3), 50.0, 7.0)
    ours.close("j", 4, cuts(4, 4), 8.0, duration=1500.0)
    assert waiting(ledger) == [1, 2, 3, 4]


def test_a_language_that_is_known_before_the_second_segment_holds_nothing(
    ledger: LedgerByHand, ours: OpenPlans
) -> None:
    opened(ledger, holds=True)
    ledger.set_language(ledger.running("j", 0), "es", 0.5, 6.0)
    assert ledger.lanes(10) == []
    ours.extend("j", cuts(1, 1), 50.0, 7.0)
    assert waiting(ledger) == [1]


def test_a_plan_that_closes_before_the_language_is_known_holds_on(ledger: LedgerByHand, ours: OpenPlans) -> None:
    opened(ledger, holds=True)
    first = ledger.running("j", 0)
    ours.close("j", 1, cuts(1, 2), 8.0, duration=900.0)
    assert waiting(ledger) == []
    ledger.set_language(first, "es", 0.5, 9.0)
    assert waiting(ledger) == [1, 2]


@pytest.mark.parametrize("then", ["extend", "close", "resume"])
def test_a_language_from_a_node_of_an_older_version_releases_what_is_held(
    ledger: LedgerByHand, redis: Redis, ours: OpenPlans, then: str
) -> None:
    """Its script stores the language and releases only plans that are complete."""
    opened(ledger, holds=True)
    ledger.running("j", 0)
    ours.extend("j", cuts(1, 1), 50.0, 5.0)
    redis.hset(keys.job("j"), "language", "es")
    redis.zrem(keys.UNDETECTED, "j")
    if then == "extend":
        ours.extend("j", cuts(2, 2), 50.0, 6.0)
    elif then == "close":
        ours.close("j", 2, cuts(2, 2), 6.0, duration=900.0)
    else:
        assert ours.park("j")
        assert ours.resume(1, 10, 6.0) == ["j"]
    assert waiting(ledger) == ([1] if then == "resume" else [1, 2])


def test_parked_jobs_are_resumed_by_priority_then_tenants_in_turn_then_age(
    ledger: LedgerByHand, ours: OpenPlans
) -> None:
    jobs: dict[str, dict[str, Any]] = {
        "a1": {"tenant": "a"},
        "a2": {"tenant": "a"},
        "a3": {"tenant": "a"},
        "b1": {"tenant": "b"},
        "urgent": {"tenant": "a", "priority": 0},
    }
    for number, (job, fields) in enumerate(jobs.items()):
        assert ledger.accept(job, request(**fields), 1.0 + number / 10)
        assert ledger.begin(job, JobState.ACCEPTED, "ours", 40.0, 2.0)
        assert ledger.plan(job, plan(1).model_copy(update={"is_open": True}), 3.0)
        assert ours.park(job) and ours.park(job)
    for resumed in (["urgent", "a1"], ["b1", "a2"], ["a3"], []):
        assert ours.resume(2, 10, 5.0) == resumed
        assert ours.resume(2, 10, 5.0) == []  # their messages are still on their way
        for job in resumed:
            assert ledger.begin(job, JobState.ACCEPTED, "ours", 40.0, 6.0)


def test_a_parked_job_with_enough_segments_stays_parked(ledger: LedgerByHand, ours: OpenPlans) -> None:
    opened(ledger, "long", segments=4)
    opened(ledger, "short", segments=2)
    assert ours.park("long") and ours.park("short")
    assert ours.resume(5, 2, 5.0) == ["short"]
    finish(ledger, 0, "long")
    finish(ledger, 1, "long")
    assert ours.resume(5, 2, 6.0) == ["long"]


def test_a_parked_job_is_nobodys_until_it_is_resumed_and_then_cannot_be_lost(
    ledger: LedgerByHand, ours: OpenPlans
) -> None:
    opened(ledger)
    ours.park("j")
    assert ledger.due(1000.0, 1030.0) == []
    assert ours.resume(1, 5, 1000.0) == ["j"]
    assert ledger.due(1009.0, 1030.0) == []
    assert ledger.due(1011.0, 1041.0) == [("j", JobState.ACCEPTED, False)]


def test_a_parked_job_whose_message_comes_twice_is_taken_up_once(ledger: LedgerByHand, ours: OpenPlans) -> None:
    opened(ledger)
    ours.park("j")
    assert ledger.begin("j", JobState.ACCEPTED, "theirs", 90.0, 50.0)
    assert ours.resume(1, 5, 51.0) == []
    assert not ledger.begin("j", JobState.ACCEPTED, "ours", 90.0, 52.0)


def test_a_parked_job_that_was_cancelled_is_forgotten(ledger: LedgerByHand, redis: Redis, ours: OpenPlans) -> None:
    opened(ledger)
    ours.park("j")
    ledger.cancel("j", 4.0)
    assert ours.resume(5, 5, 5.0) == []
    assert not redis.keys("fleet:parked*")


def test_scripts_of_the_version_before_take_an_open_plan_for_incomplete(ledger: LedgerByHand) -> None:
    """They compare the number of finished segments with `total`, which an open plan does not have."""
    opened(ledger)
    message = ledger.running("j", 0)
    fields = ledger.redis.hgetall(keys.job("j"))
    assert b"total" not in fields and b"duration" not in fields and b"held" not in fields
    assert ledger.progress(message, 10.0, 120.0, 4.0) is not None
    assert not ledger.finish(message, result(gpu=GPU), 5.0).last
