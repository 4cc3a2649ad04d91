"""How much each API key may use, and has used. Owner of `fleet:usage*`, `fleet:key_rate:*` and `fleet:key_jobs:*`.

Requests are counted as they come. Jobs are noted when they are submitted, and counted with their audio when they have
ended, by whichever server sees that first: a script removes the job and adds to the usage in one step, so that a job
counts once whatever dies.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any, cast

from redis.asyncio import Redis

from whisper_fleet.http.access.caller import Caller
from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.estimate import Estimator
from whisper_fleet.shared.broker.scripts import run_source_async
from whisper_fleet.shared.http import keys as http_keys
from whisper_fleet.shared.http.usage import AUDIO_SECONDS, JOBS, REQUESTS, WITHOUT_KEY, day_of
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobState

_USAGE_SECONDS = 400 * 86400
#: Jobs of one key that are looked at in one step.
_PAGE = 500
#: Seconds after which a job that is noted and that the ledger does not know was never submitted.
_SUBMISSION_SECONDS = 600.0
_PRIORITIES = range(10)

# KEYS: jobs of the key. ARGV: job, now, most jobs (0: any number) -> 1 unless there are too many.
_START = """
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 1 end
if tonumber(ARGV[3]) > 0 and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
return 1
"""

# KEYS: jobs of the key, usage of the day, total usage. ARGV: job, field of jobs, field of audio, seconds, expires.
_COUNT = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 or ARGV[4] == '' then return 0 end
for i = 2, 3 do
  redis.call('HINCRBYFLOAT', KEYS[i], ARGV[2], 1)
  redis.call('HINCRBYFLOAT', KEYS[i], ARGV[3], ARGV[4])
end
redis.call('EXPIRE', KEYS[2], ARGV[5])
return 1
"""


class Quota:
    """Counts what keys use, and refuses what is above their limits with 429 and a time to try again."""

    def __init__(self, redis: Redis, settings: Settings, estimator: Estimator) -> None:
        self._redis = redis
        self._estimator = estimator
        self._settings = settings

    async def count_request(self, caller: Caller) -> None:
        """Count a request; raises ApiError 429 above the key's rate."""
        now, name = time.time(), _name(caller)
        minute = int(now // 60)
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.incr(http_keys.key_rate(name, minute))
            pipeline.expire(http_keys.key_rate(name, minute), 120)
            for usage in (http_keys.usage(day_of(now)), http_keys.USAGE_TOTAL):
                pipeline.hincrby(usage, f"{name}/{REQUESTS}", 1)
            pipeline.expire(http_keys.usage(day_of(now)), _USAGE_SECONDS)
            count, *_ = await pipeline.execute()
        most = caller.limits.requests_per_minute
        if most is not None and count > most:
            raise ApiError(429, f"this key may send {most} requests per minute", retry_after=60 * (minute + 1) - now)

    async def check(self, caller: Caller) -> None:
        """Raise ApiError 429 if the caller may not submit anything now, before it uploads something."""
        most_waiting = self._settings.max_waiting_jobs
        waiting = await self._redis.hmget(
            keys.CLOCK, [f"waiting/{priority}/{caller.tenant}" for priority in _PRIORITIES]
        )
        if sum(max(int(count), 0) for count in waiting if count is not None) >= most_waiting:
            raise await self._busy(f"{most_waiting:,} of your jobs wait for GPUs, as many as the fleet keeps")
        hours = caller.limits.audio_hours_per_day
        if hours is not None and await self._audio_today(_name(caller)) >= hours * 3600:
            left = 86400 - time.time() % 86400
            raise ApiError(429, f"this key may transcribe {hours:g} hours of audio per day", retry_after=left)
        most = caller.limits.concurrent_jobs
        if most is not None and await self._running(_name(caller)) >= most:
            raise await self._busy(f"this key may have {most} jobs at once")

    async def start(self, caller: Caller, job: str) -> None:
        """Note a job that is about to be submitted, or that was noted before; raises ApiError 429 if it is too many."""
        most = caller.limits.concurrent_jobs or 0
        if not await self._run(_START, [http_keys.key_jobs(_name(caller))], job, time.time(), most):
            raise await self._busy(f"this key may have {most} jobs at once")

    async def count_ended(self) -> None:
        """Count the jobs that have ended, of all keys."""
        for name in [WITHOUT_KEY, *map(_text, await self._redis.hgetall(http_keys.API_KEYS))]:
            await self._count_ended_of(name)

    async def _count_ended_of(self, name: str) -> None:
        noted = await self._redis.zrange(http_keys.key_jobs(name), 0, -1, withscores=True)
        jobs = [(_text(job), float(submitted)) for job, submitted in cast("list[tuple[bytes, float]]", noted)]
        for first in range(0, len(jobs), _PAGE):
            page = jobs[first : first + _PAGE]
            async with self._redis.pipeline(transaction=False) as pipeline:
                for job, _ in page:
                    pipeline.hmget(keys.job(job), ["state", "duration"])
                records = await pipeline.execute()
            for (job, submitted), (state, duration) in zip(page, records, strict=True):
                if state is None and time.time() - submitted < _SUBMISSION_SECONDS:
                    continue  # its submission is under way
                if state is None or JobState(text(state)).is_final:
                    is_done = state is not None and text(state) == JobState.DONE
                    await self._count(name, job, text(duration or b"0") if is_done else "")

    async def _count(self, name: str, job: str, seconds: str) -> None:
        names = [http_keys.key_jobs(name), http_keys.usage(day_of(time.time())), http_keys.USAGE_TOTAL]
        await self._run(_COUNT, names, job, f"{name}/{JOBS}", f"{name}/{AUDIO_SECONDS}", seconds, _USAGE_SECONDS)

    async def _running(self, name: str) -> int:
        await self._count_ended_of(name)
        return int(await self._redis.zcard(http_keys.key_jobs(name)))

    async def _audio_today(self, name: str) -> float:
        used = await self._redis.hget(http_keys.usage(day_of(time.time())), f"{name}/{AUDIO_SECONDS}")
        return 0.0 if used is None else float(used)

    async def _busy(self, reason: str) -> ApiError:
        return ApiError(429, reason, retry_after=await self._estimator.retry_after())

    async def _run(self, script: str, names: list[str], *arguments: str | float) -> int:
        digest = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        return cast("int", await run_source_async(self._redis, script, digest, names, *arguments))


def _text(value: Any) -> str:
    return text(value)


def _name(caller: Caller) -> str:
    return caller.key or WITHOUT_KEY
