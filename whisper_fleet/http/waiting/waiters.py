"""Which jobs have clients that wait, and which upload joins which job. Owner of `fleet:join:*` and `fleet:wait*`.

A waiter is an open connection. It has a lease, which its server renews, so that the waiter of a killed server expires.
Leases end by the clock of Redis: by that of a server, another one whose clock differs would cancel jobs too soon.
The client of that server sends its upload again and joins the job. A job that nobody waits for is cancelled: at once if
its last client disconnects, and when the last lease has expired if a server died and no client came back.

Each step is one script, so a client cannot join a job at the moment in which its last waiter leaves.
"""

from __future__ import annotations

import hashlib
from typing import Any, cast

from redis.asyncio import Redis

from whisper_fleet.shared.broker.scripts import run_source_async
from whisper_fleet.shared.http import keys as http_keys
from whisper_fleet.shared.ledger.scripts import text

#: Seconds until a waiter that is not renewed has left; a client's retries come within it.
LEASE = 90.0
#: Seconds between two renewals.
RENEWAL = 15.0
#: Seconds for which the same upload joins a job after its clients were last seen.
JOIN_SECONDS = 600

# KEYS: join. ARGV: job if there is none, waiter, seconds of its lease, prefix and index of waits, seconds of a join.
_JOIN = """
local job = redis.call('GET', KEYS[1])
if not job then
  job = ARGV[1]
  redis.call('SET', KEYS[1], job, 'EX', ARGV[6])
end
local wait, ends = ARGV[4] .. job, redis.call('TIME')[1] + ARGV[3]
redis.call('HSET', wait, ARGV[2], ends, 'join', KEYS[1])
redis.call('EXPIRE', wait, 86400)
redis.call('ZADD', ARGV[5], ends, job)
return job
"""

# KEYS: wait, index of waits. ARGV: job, waiter, seconds of its lease, seconds of a join.
_RENEW = """
local join = redis.call('HGET', KEYS[1], 'join')
if not join then return 0 end
local ends = redis.call('TIME')[1] + ARGV[3]
redis.call('HSET', KEYS[1], ARGV[2], ends)
redis.call('EXPIRE', KEYS[1], 86400)
redis.call('ZADD', KEYS[2], ends, ARGV[1])
if redis.call('GET', join) == ARGV[1] then redis.call('EXPIRE', join, ARGV[4]) end
return 1
"""

# KEYS: wait, index of waits. ARGV: job, waiter, whether the upload may still join (1) -> 1: nobody waits any more.
_LEAVE = """
redis.call('HDEL', KEYS[1], ARGV[2])
local now = tonumber(redis.call('TIME')[1])
local fields = redis.call('HGETALL', KEYS[1])
local join
for i = 1, #fields, 2 do
  if fields[i] == 'join' then join = fields[i + 1]
  elseif tonumber(fields[i + 1]) > now then return 0 end
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if join and ARGV[3] == '0' and redis.call('GET', join) == ARGV[1] then redis.call('DEL', join) end
return 1
"""


class Waiters:
    """The waiting clients of all servers."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def join(self, upload: str, new_job: str, waiter: str) -> str:
        """Wait for the job of an upload, or for `new_job` if it has none; return the job.

        `upload` is the digest of everything that makes two uploads the same.
        """
        arguments = (new_job, waiter, LEASE, http_keys.wait(""), http_keys.WAITS, JOIN_SECONDS)
        return text(await self._run(_JOIN, [http_keys.join(upload)], *arguments))

    async def renew(self, job: str, waiter: str) -> None:
        """Prolong a waiter's lease."""
        await self._run(_RENEW, [http_keys.wait(job), http_keys.WAITS], job, waiter, LEASE, JOIN_SECONDS)

    async def leave(self, job: str, waiter: str, *, may_join: bool) -> bool:
        """Wait no longer; return whether nobody waits for the job now.

        `may_join` says whether the same upload still joins the job: it does if the client has its answer.
        """
        return bool(await self._run(_LEAVE, [http_keys.wait(job), http_keys.WAITS], job, waiter, int(may_join)))

    async def abandoned(self) -> list[str]:
        """Return the jobs whose last waiters expired, each to one caller."""
        now, _ = await self._redis.time()
        due = cast("list[bytes]", await self._redis.zrangebyscore(http_keys.WAITS, "-inf", now))
        return [job for job in map(text, due) if await self.leave(job, "", may_join=False)]

    async def _run(self, script: str, names: list[str], *arguments: str | float) -> Any:
        digest = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        return await run_source_async(self._redis, script, digest, names, *arguments)
