"""Turns: urgent first, fair between tenants and jobs by audio seconds, and nobody starves."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_fleet.scheduler.dispatch.fairness import FairOrder, Turn, risen
from whisper_fleet.shared.wire import Lane, Need, WaitingJob

NEED = Need(model_name="base", precision="float16", segment_duration=300)
NOW = 10_000.0
AGEING = 60.0


def job(name: str, *, served: float = 0, seconds: float = 300, segments: int = 1, accepted: float = 0) -> WaitingJob:
    waiting = tuple(range(segments))
    return WaitingJob(job=name, accepted=accepted, served=served, seconds=seconds, segments=waiting)


def lane(name: str, *jobs: WaitingJob, **changes: Any) -> Lane:
    plain: dict[str, Any] = {"priority": 5, "tenant": "", "need": NEED, "since": NOW, "tenant_served": 0.0}
    return Lane(id=name, jobs=jobs, **(plain | changes))


def order(*lanes: Lane) -> FairOrder:
    return FairOrder(lanes, now=NOW, ageing=AGEING)


def hand_out(turns: FairOrder, most: int = 10_000) -> list[Turn]:
    taken: list[Turn] = []
    while len(taken) < most and (turn := turns.next()) is not None:
        turns.taken()
        taken.append(turn)
    return taken


def names(turns: list[Turn]) -> str:
    return " ".join(turn.job.job for turn in turns)


def test_a_more_urgent_class_goes_first() -> None:
    urgent = lane("u", job("urgent", segments=2), priority=0)
    turns = hand_out(order(lane("l", job("low"), priority=9), urgent))
    assert names(turns) == "urgent urgent low"


def test_equal_jobs_take_turns() -> None:
    turns = hand_out(order(lane("l", job("a", segments=3), job("b", segments=3))))
    assert names(turns) == "a b a b a b"


def test_segments_of_a_job_go_in_order() -> None:
    turns = hand_out(order(lane("l", job("a", segments=4))))
    assert [turn.segment for turn in turns] == [0, 1, 2, 3]


def test_turns_are_counted_in_audio_seconds() -> None:
    turns = hand_out(order(lane("l", job("long", segments=9), job("short", segments=9, seconds=100))), 8)
    assert Counter(turn.job.job for turn in turns) == {"long": 2, "short": 6}


def test_a_newcomer_at_the_clock_does_not_wait_behind_a_flood() -> None:
    flood = [job(f"f{number:03}", served=600, segments=100, accepted=number) for number in range(50)]
    newcomer = job("new", served=300, accepted=99)
    assert names(hand_out(order(lane("l", newcomer, *flood)), 1)) == "new"


def test_between_equally_served_jobs_the_older_goes_first() -> None:
    assert names(hand_out(order(lane("l", job("b", accepted=2), job("a", accepted=1))))) == "a b"


def test_lanes_of_one_tenant_are_compared_by_their_jobs() -> None:
    other = Need(model_name="large-v3", precision="float16", segment_duration=300)
    second = lane("y", job("b"), job("c", served=900), need=other)
    turns = hand_out(order(lane("x", job("a", served=300)), second))
    assert names(turns) == "b a c"


def test_a_tenant_with_many_jobs_gets_no_more_than_one_with_few() -> None:
    crowd = lane("c", *(job(f"c{number}", segments=10) for number in range(9)), tenant="crowd")
    single = lane("s", job("s", segments=10), tenant="single")
    turns = hand_out(order(crowd, single), 12)
    assert Counter(turn.lane.tenant for turn in turns) == {"crowd": 6, "single": 6}


def test_a_skipped_lane_sits_out_and_pays_nothing() -> None:
    blocked, free = lane("x", job("blocked", segments=5)), lane("y", job("free", segments=2))
    turns = order(blocked, free)
    first = turns.next()
    assert first is not None
    assert first.job.job == "blocked"
    turns.skip()
    assert names(hand_out(turns)) == "free free"


def test_a_lane_that_waited_long_rises_and_falls_back_when_served() -> None:
    aged = lane("old", job("old", segments=5), priority=9, since=NOW - 9 * AGEING)
    urgent = lane("new", job("new", segments=3), priority=0)
    assert names(hand_out(order(aged, urgent), 4)) == "old new new new"


def test_a_lane_that_rose_less_than_the_difference_still_waits() -> None:
    aged = lane("old", job("old"), priority=9, since=NOW - 8 * AGEING)
    assert names(hand_out(order(aged, lane("new", job("new"), priority=0)))) == "new old"


@pytest.mark.parametrize(("waited", "level"), [(0, 5), (59.9, 5), (60, 4), (120, 3), (600, -5), (-5, 5)])
def test_a_class_rises_by_one_for_every_ageing_interval(waited: float, level: int) -> None:
    assert risen(5, NOW - waited, NOW, AGEING) == level


def test_a_turn_must_be_taken_or_skipped_once() -> None:
    turns = order(lane("l", job("a")))
    with pytest.raises(RuntimeError, match="call next"):
        turns.taken()
    turns.next()
    turns.taken()
    with pytest.raises(RuntimeError, match="call next"):
        turns.skip()


def test_nothing_waits_nothing_goes() -> None:
    assert order().next() is None
    assert order(lane("empty")).next() is None


jobs = st.builds(
    job,
    st.uuids().map(str),
    served=st.floats(0, 3000),
    seconds=st.floats(1, 600),
    segments=st.integers(0, 4),
    accepted=st.floats(0, 100),
)
lanes = st.lists(
    st.builds(
        lambda number, jobs, priority, tenant, waited: lane(
            f"{priority}/{tenant}/{number}", *jobs, priority=priority, tenant=tenant, since=NOW - waited
        ),
        st.integers(0, 10**9),
        st.lists(jobs, max_size=5),
        st.integers(0, 9),
        st.sampled_from(["", "t", "u"]),
        st.floats(0, 700),
    ),
    max_size=8,
    unique_by=lambda one: one.id,
)


@given(lanes)
def test_every_segment_gets_exactly_one_turn(waiting: list[Lane]) -> None:
    turns = hand_out(order(*waiting))
    wanted = Counter((one.job, segment) for lane in waiting for one in lane.jobs for segment in one.segments)
    assert Counter((turn.job.job, turn.segment) for turn in turns) == wanted


@given(lanes)
def test_no_turn_passes_over_a_more_urgent_class(waiting: list[Lane]) -> None:
    left = Counter(lane.priority for lane in waiting for one in lane.jobs for _ in one.segments)
    for turn in hand_out(order(*waiting)):
        level = risen(turn.lane.priority, turn.lane.since, NOW, AGEING)
        assert level <= min(priority for priority, count in left.items() if count)
        left[turn.lane.priority] -= 1


@given(st.integers(2, 6), st.integers(10, 60))
def test_shares_differ_by_no_more_than_one_segment(count: int, turns: int) -> None:
    sizes = {f"j{number}": 50.0 * (number + 1) for number in range(count)}
    waiting = [job(name, seconds=seconds, segments=60) for name, seconds in sizes.items()]
    handed: dict[str, float] = dict.fromkeys(sizes, 0.0)
    for turn in hand_out(order(lane("l", *waiting)), turns):
        handed[turn.job.job] += turn.job.seconds
    shares = [handed[name] for name in sizes]
    assert max(shares) - min(shares) <= max(sizes.values())
