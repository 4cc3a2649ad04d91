"""What the dispatcher sees of waiting work: lanes, their heads and their fair shares."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from tests.support.ledger_by_hand import LedgerByHand, plan, request
from whisper_fleet.shared.ledger.records import lane_of
from whisper_fleet.shared.models import MODELS

pytestmark = pytest.mark.integration


@pytest.fixture
def ledger(redis: Redis) -> LedgerByHand:
    return LedgerByHand(redis)


def heads(ledger: LedgerByHand, most: int = 100) -> list[str]:
    """The jobs of the only lane, next one first."""
    [lane] = ledger.lanes(most)
    return [one.job for one in lane.jobs]


def test_jobs_that_differ_in_nothing_that_matters_share_a_lane(ledger: LedgerByHand) -> None:
    ledger.planned("a", language="de")
    ledger.planned("b", language="en", now=2.0)
    assert heads(ledger) == ["a", "b"]


@pytest.mark.parametrize(
    "fields",
    [
        {"priority": 0},
        {"tenant": "x"},
        {"model_name": "tiny"},
        {"gpu_ids": ("1",)},
        {"segment_duration": 60.0},
        {"precision": "float32"},
        {"options": {"beam_size": 5}},
    ],
)
def test_what_placement_or_fairness_must_know_makes_another_lane(ledger: LedgerByHand, fields: dict[str, Any]) -> None:
    ledger.planned("a")
    ledger.planned("b", **fields)
    assert len(ledger.lanes(10)) == 2


def test_the_dimensions_of_a_clients_checkpoint_are_in_the_lane_and_not_in_its_id(ledger: LedgerByHand) -> None:
    """A job that an older version planned has none, and shares the lane; the last one planned is right."""
    own = "/models/own.pt"
    ledger.planned("old", model_name=own)
    [before] = ledger.lanes(10)
    assert before.need.dims is None
    asked = request(model_name=own)
    ledger.accept("new", asked, 2.0)
    ledger.plan("new", plan(1).model_copy(update={"dims": MODELS["small"]}), 2.0, asked)
    [after] = ledger.lanes(10)
    assert after.need.dims == MODELS["small"]
    assert (after.id, lane_of(asked).lane) == (before.id, before.id)
    ledger.planned("official")
    assert {lane.need.dims for lane in ledger.lanes(10)} == {MODELS["small"], None}


def test_of_equal_jobs_the_oldest_comes_first(ledger: LedgerByHand) -> None:
    for job, accepted in (("c", 12.0), ("a", 9.5), ("b", 10.25)):
        ledger.planned(job, now=accepted)
    assert heads(ledger) == ["a", "b", "c"]


def test_jobs_take_turns_by_the_audio_they_were_given(ledger: LedgerByHand) -> None:
    ledger.planned("long", 100, now=1.0)
    ledger.planned("other", 100, now=2.0)
    order = []
    for _ in range(6):
        order.append(heads(ledger)[0])
        [lane] = ledger.lanes(1)
        ledger.assigned(order[-1], lane.jobs[0].segments[0])
    assert order == ["long", "other"] * 3


def test_a_newcomer_is_next_however_much_is_waiting(ledger: LedgerByHand) -> None:
    for i in range(20):
        ledger.planned(f"long-{i:02}", 100, now=1.0 + i)
    for _ in range(50):
        [lane] = ledger.lanes(1)
        ledger.assigned(lane.jobs[0].job, lane.jobs[0].segments[0])
    ledger.planned("clip", 1, now=100.0, seconds=10.0)
    assert heads(ledger, 1) == ["clip"]


def test_nobody_saves_up_shares_by_staying_away(ledger: LedgerByHand) -> None:
    ledger.planned("steady", 100, now=1.0)
    for segment in range(50):
        ledger.assigned("steady", segment)
    ledger.planned("newcomer", 100, now=100.0)
    order = []
    for _ in range(4):
        [lane] = ledger.lanes(1)
        order.append(lane.jobs[0].job)
        ledger.assigned(order[-1], lane.jobs[0].segments[0])
    assert sorted(order) == ["newcomer", "newcomer", "steady", "steady"]


def test_a_tenants_share_counts_all_its_jobs(ledger: LedgerByHand) -> None:
    ledger.planned("a1", 2, tenant="a")
    ledger.planned("a2", 2, tenant="a", model_name="tiny")
    ledger.planned("b", 2, tenant="b")
    ledger.assigned("a1", 0)
    ledger.assigned("a2", 0)
    shares = {lane.tenant: lane.tenant_served for lane in ledger.lanes(10)}
    assert shares == {"a": 600.0, "b": 0.0}


def test_a_lane_knows_when_it_was_last_served(ledger: LedgerByHand) -> None:
    ledger.planned("a", 2, now=5.0)
    assert [lane.since for lane in ledger.lanes(1)] == [5.0]
    ledger.assigned("a", 0, now=9.0)
    assert [lane.since for lane in ledger.lanes(1)] == [9.0]


def test_a_long_job_fills_what_short_ones_beside_it_leave(ledger: LedgerByHand) -> None:
    ledger.planned("long", 100)
    for i in range(4):
        ledger.planned(f"short-{i}")
    [lane] = ledger.lanes(10)
    assert sum(len(one.segments) for one in lane.jobs) >= 10


def test_a_segment_given_back_waits_in_its_lane_again_in_its_old_place(ledger: LedgerByHand) -> None:
    ledger.planned("a", 2)
    first = ledger.running("a", 0)
    ledger.running("a", 1)
    assert ledger.lanes(10) == []
    ledger.return_to_queue(first, "boom", 9.0)
    [lane] = ledger.lanes(10)
    assert lane.jobs[0].segments == (0,)
    assert lane.jobs[0].served == 600.0  # the lost attempt is not charged


def test_a_segment_whose_attempt_was_lost_does_not_wait_another_turn_of_every_job(ledger: LedgerByHand) -> None:
    for job in "abc":
        ledger.planned(job, segments=3)
    lost = ledger.running("a", 0)
    ledger.assigned("b", 0)
    assert heads(ledger) == ["c", "a", "b"]
    ledger.return_to_queue(lost, "its node died", 4.0)
    assert heads(ledger) == ["a", "c", "b"]


def test_ten_thousand_waiting_jobs_cost_the_dispatcher_no_more_than_a_few(ledger: LedgerByHand, redis: Redis) -> None:
    for i in range(10_000):
        ledger.planned(f"job-{i}", now=1.0 + i)

    calls = redis.info("commandstats")
    before = sum(entry["calls"] for name, entry in calls.items() if "info" not in name)
    assert len(ledger.lanes(8)[0].jobs) == 8
    after = sum(entry["calls"] for name, entry in redis.info("commandstats").items() if "info" not in name)
    assert after - before < 30
