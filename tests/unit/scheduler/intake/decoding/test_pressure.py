"""A file is decoded ahead of the GPUs, but only so far."""

from __future__ import annotations

import pytest

from whisper_fleet.scheduler.intake.decoding.pressure import is_far_ahead, resumes_at


def test_one_file_alone_keeps_every_slot_of_a_fleet_busy() -> None:
    assert not is_far_ahead(511, 256, has_room=True)
    assert is_far_ahead(512, 256, has_room=True)


@pytest.mark.parametrize("slots", [0, 1, 8, 64, 256, 2048])
@pytest.mark.parametrize("has_room", [True, False])
def test_a_file_that_stops_is_not_decoded_again_for_a_segment_or_two(slots: int, has_room: bool) -> None:
    stops_at = next(number for number in range(10_000) if is_far_ahead(number, slots, has_room=has_room))
    assert 4 <= resumes_at(slots) <= stops_at // 2


@pytest.mark.parametrize("slots", [0, 1, 64])
def test_a_file_with_few_segments_is_decoded_on_though_the_spool_is_full(slots: int) -> None:
    assert not is_far_ahead(7, slots, has_room=False)
