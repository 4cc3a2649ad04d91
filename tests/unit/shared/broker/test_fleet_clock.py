"""The time of the fleet is that of Redis, measured now and then, and goes on while Redis is unreachable."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis import Redis
from redis.exceptions import ConnectionError, NoPermissionError

from whisper_fleet.shared.broker.fleet_clock import FleetClock


class Clocks:
    """A Redis, a monotonic clock and a host's clock, which a test sets."""

    def __init__(self) -> None:
        self.redis: float | Exception = 1_000_000.25
        self.monotonic = 50.0
        self.local = 1_000_300.0
        self.measured = 0

    def time(self) -> tuple[int, int]:
        self.measured += 1
        if isinstance(self.redis, Exception):
            raise self.redis
        return int(self.redis), round(self.redis % 1 * 1e6)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def clock(clocks: Clocks) -> FleetClock:
    redis = cast("Redis", cast("Any", clocks))
    return FleetClock(redis, monotonic=lambda: clocks.monotonic, local=lambda: clocks.local)


def test_the_time_is_that_of_redis_and_not_of_the_host(clocks: Clocks, clock: FleetClock) -> None:
    assert clock.now() == 1_000_000.25
    clocks.local += 3600  # somebody sets the host's clock
    clocks.monotonic += 2.5
    assert clock.now() == 1_000_002.75
    assert clocks.measured == 1


def test_it_is_measured_again_after_half_a_minute(clocks: Clocks, clock: FleetClock) -> None:
    clock.now()
    clocks.redis, clocks.monotonic = 1_000_100.5, clocks.monotonic + 31
    assert clock.now() == 1_000_100.5
    assert clocks.measured == 2


def test_it_goes_on_while_redis_is_unreachable_and_asks_now_and_then(clocks: Clocks, clock: FleetClock) -> None:
    clock.now()
    clocks.redis, clocks.monotonic = ConnectionError("down"), clocks.monotonic + 40
    assert clock.now() == clock.now() == 1_000_040.25
    assert clocks.measured == 2
    clocks.redis, clocks.monotonic = 1_000_047.0, clocks.monotonic + 6
    assert clock.now() == 1_000_047.0


@pytest.mark.parametrize("error", [ConnectionError("down"), NoPermissionError("NOPERM")])
def test_without_any_measurement_it_is_the_hosts_own(clocks: Clocks, clock: FleetClock, error: Exception) -> None:
    clocks.redis = error
    assert clock.now() == clocks.local


def test_other_errors_pass(clocks: Clocks, clock: FleetClock) -> None:
    clocks.redis = ValueError("a fault of ours")
    with pytest.raises(ValueError, match="ours"):
        clock.now()
