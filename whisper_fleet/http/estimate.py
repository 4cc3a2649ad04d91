"""When a refused client should try again: when the backlog is done, by the speed that the GPUs have measured."""

from __future__ import annotations

import time

from redis.asyncio import Redis

from whisper_fleet.aio import AsyncFleetClient
from whisper_fleet.http.jobs.estimates import Estimate, estimate
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import run_async, text

#: Clients give up a Retry-After above two minutes.
SHORTEST_RETRY, LONGEST_RETRY = 1.0, 120.0
#: Seconds to wait where no speed has been measured yet.
_UNKNOWN_RETRY = 30.0
_LEAST_URGENT = 9
#: Seconds for which an estimate that was made is good enough.
_FRESH_SECONDS = 2.0


def retry_after(wait_seconds: float | None) -> float:
    """Return the seconds after which a refused client should try again. Pure."""
    return min(max(_UNKNOWN_RETRY if wait_seconds is None else wait_seconds, SHORTEST_RETRY), LONGEST_RETRY)


class Estimator:
    """Estimates how long the fleet's backlog takes, at most every two seconds per process."""

    def __init__(self, redis: Redis, fleet: AsyncFleetClient) -> None:
        self._redis, self._fleet = redis, fleet
        self._made_at = float("-inf")
        self._wait: float | None = 0.0

    async def retry_after(self) -> float:
        """Return the seconds after which a client that is refused now should try again."""
        if time.monotonic() - self._made_at > _FRESH_SECONDS:
            backlog = await self.estimate(audio_seconds=0.0, priority=_LEAST_URGENT)
            self._wait = backlog.wait_seconds if backlog.backlog_seconds > 0 else 0.0
            self._made_at = time.monotonic()
        return retry_after(self._wait)

    async def estimate(self, *, audio_seconds: float, priority: int) -> Estimate:
        """Return the estimate for so many seconds of audio that are submitted now."""
        lanes, running = await run_async(self._redis, "backlog")
        gpus = [gpu.id for gpu in await self._fleet.gpus()]
        speeds = await self._redis.hmget(keys.SPEEDS, gpus) if gpus else []
        return estimate(
            audio_seconds=audio_seconds,
            priority=priority,
            waiting=[(int(lane), float(text(waiting))) for lane, waiting in lanes],
            running=float(text(running)),
            speeds=[0.0 if speed is None else float(text(speed)) for speed in speeds],
        )
