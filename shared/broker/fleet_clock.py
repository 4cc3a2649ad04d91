"""The time of the fleet, which is that of Redis: hosts whose clocks differ must agree on heartbeats and leases.

Called by the ledger for every process of the fleet. It knows Redis and this process's monotonic clock. While Redis does
not tell the time (unreachable, or a missing right), the last measurement goes on counting; before the first one, the
host's own clock is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from redis import Redis

from whisper_fleet.shared.connect import is_outage

#: Seconds after which the time is measured again: clocks drift, and a replica may have taken over.
_INTERVAL = 30.0
#: Seconds until another try after Redis did not tell the time.
_PAUSE = 5.0


@dataclass(frozen=True, kw_only=True)
class _Measurement:
    """What Redis said at a moment of the monotonic clock, which no correction of the host's clock moves."""

    seconds: float  # Unix
    at: float


class FleetClock:
    """Tells the time of the fleet in Unix seconds; thread-safe, because a measurement is replaced as a whole."""

    def __init__(
        self,
        redis: Redis,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        local: Callable[[], float] = time.time,
    ) -> None:
        self._redis, self._monotonic, self._local = redis, monotonic, local
        self._measurement: _Measurement | None = None
        self._again_at = 0.0

    def now(self) -> float:
        """Return the time, measured at most half a minute ago; it never raises for an outage of Redis."""
        if self._monotonic() >= self._again_at:
            self._measure()
        if self._measurement is None:
            return self._local()
        return self._measurement.seconds + self._monotonic() - self._measurement.at

    def _measure(self) -> None:
        began = self._monotonic()
        try:
            seconds, microseconds = self._redis.time()
        except Exception as error:
            if not is_outage(error):
                raise
            self._again_at = self._monotonic() + _PAUSE
            return
        ended = self._monotonic()
        # The reply was made somewhere between the two: in the middle is wrong by half of the round trip at most.
        self._measurement = _Measurement(seconds=seconds + microseconds / 1e6, at=(began + ended) / 2)
        self._again_at = ended + _INTERVAL
