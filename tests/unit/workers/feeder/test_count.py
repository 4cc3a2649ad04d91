"""How many feeders a node has."""

from __future__ import annotations

import pytest

from whisper_fleet.workers.feeder.count import feeders_for


@pytest.mark.parametrize(
    ("slots", "cores", "feeders"),
    [
        (1, 64, 0),
        (31, 64, 0),
        (32, 16, 1),
        (64, 16, 1),
        (65, 16, 2),
        (256, 16, 4),
        (256, 8, 2),
        (256, 3, 0),  # too few cores for a second process
        (1000, 16, 4),
    ],
)
def test_feeders_follow_the_slots_as_far_as_there_are_cores(slots: int, cores: int, feeders: int) -> None:
    assert feeders_for(slots, cores) == feeders
