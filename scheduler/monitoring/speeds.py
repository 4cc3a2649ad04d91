"""How fast each GPU transcribes when it has enough to do: the basis of estimates.

The autoscaler's tick of each host calls it. An engine reports its rate over ten seconds, which is low whenever little
is in its batch. So the highest rate counts, and is slowly forgotten: half of it in an hour.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import cast

from redis import Redis

from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.wire import GpuStatus

_HALF_LIFE = 3600.0


def note_speeds(redis: Redis, gpus: Iterable[GpuStatus], interval: float) -> None:
    """Store the speeds of these GPUs, which are looked at every `interval` seconds."""
    now = time.time()
    for gpu in gpus:
        if gpu.rates is None or gpu.rates.rows_live == 0 or now - gpu.heartbeat > _HALF_LIFE:
            continue
        stored = cast("bytes | None", redis.hget(keys.SPEEDS, gpu.id))
        before = 0.0 if stored is None else float(text(stored))
        redis.hset(keys.SPEEDS, gpu.id, str(faded(before, gpu.rates.times_realtime, interval)))


def faded(before: float, measured: float, interval: float) -> float:
    """Return the speed of a GPU after one more measurement. Pure."""
    return round(max(measured, before * math.exp2(-interval / _HALF_LIFE)), 3)
