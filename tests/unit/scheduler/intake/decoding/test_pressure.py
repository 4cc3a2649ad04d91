"""Files are decoded ahead of the GPUs, but only so far."""

from __future__ import annotations

import pytest

from whisper_fleet.scheduler.intake.decoding.pressure import Pressure

SLOTS = [0, 1, 8, 64, 256, 2048]


def idle(slots: int = 8, *, has_room: bool = True) -> Pressure:
    return Pressure(slots=slots, spooled=0, has_room=has_room)


def busy(slots: int = 8) -> Pressure:
    return Pressure(slots=slots, spooled=10_000, has_room=True)


def test_one_file_alone_keeps_every_slot_of_a_fleet_busy() -> None:
    assert not idle(256).stops(511, is_first=False)
    assert idle(256).stops(512, is_first=False)


def test_a_file_of_ten_hours_is_decoded_to_its_end_on_a_small_fleet() -> None:
    assert not idle(1).stops(120, is_first=False)


@pytest.mark.parametrize("slots", SLOTS)
@pytest.mark.parametrize("has_room", [True, False])
def test_a_file_that_stops_is_not_decoded_again_for_a_segment_or_two(slots: int, has_room: bool) -> None:
    for pressure in (idle(slots, has_room=has_room), busy(slots)):
        stops_at = next(number for number in range(10_000) if pressure.stops(number, is_first=False))
        assert stops_at - pressure.resumes_at >= 16


@pytest.mark.parametrize("slots", SLOTS)
def test_of_files_that_wait_behind_enough_others_only_the_first_segment_is_cut(slots: int) -> None:
    assert busy(slots).stops(1, is_first=True)
    assert busy(slots).resumes_at == 0, "until a GPU has taken it"
    assert not busy(slots).stops(1, is_first=False), "then it is decoded on, for a while"
    assert not idle(slots).stops(1, is_first=True)


@pytest.mark.parametrize(("slots", "enough"), [(0, 128), (8, 128), (256, 1024)])
def test_enough_is_what_the_gpus_need_some_time_for(slots: int, enough: int) -> None:
    for spooled in (enough - 1, enough):
        assert Pressure(slots=slots, spooled=spooled, has_room=True).is_enough is (spooled == enough)


def test_a_spool_that_is_full_of_segments_is_enough_and_one_that_cannot_be_used_is_not() -> None:
    assert Pressure(slots=8, spooled=3, has_room=False).is_enough
    assert not Pressure(slots=8, spooled=0, has_room=False).is_enough
