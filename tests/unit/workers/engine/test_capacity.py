"""What is allowed shrinks until one window is left alone, and grows again with memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.windows import batcher_of, live_batch, plan_of, window
from whisper_fleet.shared.errors import EngineOutOfMemory
from whisper_fleet.workers.engine import capacity
from whisper_fleet.workers.engine.batch.batcher import Batcher, DecodeStep
from whisper_fleet.workers.engine.batch.window import Stage
from whisper_fleet.workers.engine.capacity import Allowance, Capacity, reduce, restore


def test_a_wide_step_becomes_half_as_wide() -> None:
    allowed = Allowance(width=16, slots=64)
    assert reduce(allowed, decoding=False, windows=12, live=40) == Allowance(width=6, slots=64)


def test_half_of_the_rows_go_on_where_all_were_too_many() -> None:
    allowed = Allowance(width=16, slots=64)
    assert reduce(allowed, decoding=True, windows=40, live=0) == Allowance(width=16, slots=20)


def test_a_window_waits_for_others_before_it_fails() -> None:
    allowed = Allowance(width=1, slots=8)
    assert reduce(allowed, decoding=False, windows=1, live=5) == Allowance(width=1, slots=2)
    assert reduce(allowed, decoding=False, windows=1, live=0) == Allowance(width=1, slots=1)
    assert reduce(Allowance(width=1, slots=1), decoding=False, windows=1, live=0) is None


@given(st.booleans(), st.integers(1, 600), st.integers(0, 600), st.integers(1, 16), st.integers(1, 512))
def test_nothing_grows_in_a_shortage(decoding: bool, windows: int, live: int, width: int, slots: int) -> None:
    allowed = Allowance(width=max(width, windows), slots=slots)
    lowered = reduce(allowed, decoding=decoding, windows=windows, live=live)
    if lowered is None:
        assert (windows, live, slots) == (1, 0, 1)
    else:
        assert 1 <= lowered.width <= allowed.width
        assert 1 <= lowered.slots <= allowed.slots


def test_twice_as_much_is_tried_up_to_what_is_wanted() -> None:
    wanted = Allowance(width=16, slots=6)
    assert restore(Allowance(width=2, slots=2), wanted) == Allowance(width=4, slots=4)
    assert restore(Allowance(width=16, slots=4), wanted) == wanted


class Memory:
    """A cache whose device has room for so many slots and rows together."""

    def __init__(self, room: int) -> None:
        self.room, self.slots, self.rows = room, 1, 1

    def resize(self, slots: int, rows: int) -> None:
        if slots + rows > max(self.room, self.slots + self.rows):
            raise EngineOutOfMemory(what="more slots")
        self.slots, self.rows = slots, rows


def capacity_of(batch: Batcher, memory: Memory, *, others: list[int] | None = None, width: int = 8) -> Capacity:
    """Return a capacity on a device where unloading one of `others` makes room for so much more."""
    unused = others or []

    def make_room() -> bool:
        memory.room += unused.pop() if (is_there := bool(unused)) else 0
        return is_there

    return Capacity("a model", batch, memory, width=width, make_room=make_room)


def limits(batch: Batcher) -> tuple[int, int]:
    return batch.slots.limit, batch.rows.limit


def test_slots_grow_as_far_as_memory_goes() -> None:
    batch, memory = batcher_of(slots=1, width=8), Memory(20)
    capacity_of(batch, memory).resize(64)
    assert limits(batch) == (8, 8)
    assert (memory.slots, memory.rows) == (8, 8)


def test_another_model_makes_room_for_slots() -> None:
    batch = batcher_of(slots=1, width=8)
    capacity_of(batch, Memory(20), others=[200]).resize(64)
    assert limits(batch) == (64, 64)


def test_rows_are_made_for_a_window_that_needs_more_than_there_are() -> None:
    batch, memory = batcher_of(slots=1, width=8), Memory(20)
    has = capacity_of(batch, memory)
    has.resize(2)
    wide = window(1, plan=plan_of(rows=5))
    batch.admit(wide)
    has.make_rows_for(wide)
    assert limits(batch) == (2, 5)
    assert (memory.slots, memory.rows) == (2, 5)


def test_a_window_without_memory_for_its_rows_is_abandoned() -> None:
    batch, memory = batcher_of(slots=1, width=8), Memory(5)
    has = capacity_of(batch, memory)
    has.resize(2)
    wide = window(1, plan=plan_of(rows=5))
    batch.admit(wide)
    with pytest.raises(EngineOutOfMemory):
        has.make_rows_for(wide)
    assert wide.stage is Stage.DONE
    assert limits(batch) == (memory.slots, memory.rows) == (2, 2)


def test_a_batch_that_is_too_large_is_halved_and_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, live = live_batch(3)
    has = capacity_of(batch, Memory(20), width=3)
    has.resize(3)
    step = batch.next_step()
    assert isinstance(step, DecodeStep)
    for one in reversed(live):
        batch.put_back(one)
    assert has.shed(step, 3)
    assert limits(batch) == (1, 1)
    has.recover()
    assert limits(batch) == (1, 1)  # there was a shortage a moment ago
    monkeypatch.setattr(capacity, "RECOVERY_SECONDS", -1.0)
    for expected in (2, 3, 3):
        has.recover()
        assert limits(batch) == (expected, expected)


def test_beams_that_wait_again_find_rows_where_another_model_made_room() -> None:
    batch = batcher_of(slots=1, width=8)
    has = capacity_of(batch, Memory(20), others=[1])
    has.resize(2)
    wide = window(1, plan=plan_of(rows=5))
    batch.admit(wide)
    has.make_rows_for(wide)
    batch.set_limits(width=8, slots=2, rows=2)  # a resize while they were out
    assert has.shed(DecodeStep((wide,)), 1)
    assert limits(batch) == (2, 5)


def test_one_window_alone_has_nothing_to_go_without() -> None:
    batch = batcher_of(slots=1, width=1)
    has = capacity_of(batch, Memory(2), width=1)
    assert not has.shed(DecodeStep((window(1),)), 1)
