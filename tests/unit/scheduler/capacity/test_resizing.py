"""A pool shrinks at once, grows as far as two readings agree, and keeps one slot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_fleet.scheduler.capacity.resizing import decide

counts = st.none() | st.integers(0, 100)


@pytest.mark.parametrize(
    ("wanted", "live", "before", "action", "by"),
    [
        (10, 1, None, "hold", 0),
        (10, 1, 10, "grow", 9),
        (10, 1, 4, "grow", 3),
        (4, 1, 10, "grow", 3),
        (10, 4, 4, "hold", 0),
        (4, 10, 10, "shrink", 6),
        (4, 10, None, "shrink", 6),
        (0, 10, 10, "shrink", 9),
        (0, 1, 0, "hold", 0),
        (7, 7, 7, "hold", 0),
        (None, 7, 7, "hold", 0),
        (7, None, 7, "hold", 0),
    ],
)
def test_what_is_done(wanted: int | None, live: int | None, before: int | None, action: str, by: int) -> None:
    change = decide(wanted, live, before)
    assert (change.action, change.by) == (action, by)


@given(counts, counts.map(lambda count: count and max(1, count)), counts)
def test_a_pool_never_falls_below_one_nor_rises_above_what_is_wanted(
    wanted: int | None, live: int | None, before: int | None
) -> None:
    change = decide(wanted, live, before)
    if live is None or wanted is None:
        assert change.by == 0
        return
    size = live + (change.by if change.action == "grow" else -change.by)
    assert size >= min(1, live)
    assert change.action != "grow" or size <= max(1, wanted)
    assert change.action != "shrink" or size == max(1, wanted)


@given(st.integers(0, 100), st.integers(1, 100))
def test_steady_readings_bring_the_pool_there_in_two_ticks(wanted: int, live: int) -> None:
    first = decide(wanted, live, None)
    after = live - first.by if first.action == "shrink" else live
    second = decide(wanted, after, wanted)
    size = after + (second.by if second.action == "grow" else -second.by)
    assert size == max(1, wanted)
