"""The speed of a GPU that estimates count with."""

from __future__ import annotations

import pytest

from whisper_fleet.scheduler.monitoring.speeds import faded


def test_the_highest_rate_counts_and_is_half_forgotten_in_an_hour() -> None:
    assert faded(0.0, 40.0, 5.0) == 40.0
    assert faded(1000.0, 40.0, 3600.0) == 500.0
    speed = 1000.0
    for _ in range(720):
        speed = faded(speed, 1.0, 5.0)
    assert speed == pytest.approx(500.0, rel=1e-3)
    assert faded(100.0, 200.0, 5.0) == 200.0
