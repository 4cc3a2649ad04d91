"""Batches in Redis. Owner of `fleet:batch:*`, `fleet:batches:*` and `fleet:batches_due`.

A status changes only from the one that the writer saw, so a step that was overtaken by a cancellation changes nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

from whisper_fleet.http.access.callers import Caller
from whisper_fleet.http.batches.lines import Line, LineError
from whisper_fleet.http.errors import ApiError
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.serialization import Wire

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_MOMENTS = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)
_CHUNK = 500

# KEYS: batch, due. ARGV: id, from, to, now, then names and values of fields -> 1: moved.
_MOVE = """
if redis.call('HGET', KEYS[1], 'status') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'status', ARGV[3], ARGV[3] .. '_at', ARGV[4])
if #ARGV > 4 then redis.call('HSET', KEYS[1], unpack(ARGV, 5)) end
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
return 1
"""
# KEYS: due. ARGV: now, until -> the batch that has been due longest, which is this caller's until then.
_CLAIM = """
local id = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 1)[1]
if id then redis.call('ZADD', KEYS[1], ARGV[2], id) end
return id
"""
# KEYS: batch, open lines. ARGV: completed or failed, line ... Counts each line once.
_COUNT = """
local ended = redis.call('SREM', KEYS[2], unpack(ARGV, 2))
if ended > 0 then redis.call('HINCRBY', KEYS[1], ARGV[1], ended) end
return ended
"""


class BatchOrder(Wire):
    """What a client asked for; moments are Unix seconds."""

    id: str
    tenant: str
    key: str | None = None  # id of the API key that it was created with
    input_file_id: str
    endpoint: str
    completion_window: str
    created: float
    expires: float
    metadata: dict[str, str] | None = None
    callback_url: str | None = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch: what was asked for, and how far it is."""

    order: BatchOrder
    status: str
    moments: dict[str, float]
    total: int
    submitted: int  # lines that have a job, or an error
    completed: int
    failed: int
    ending: str  # the final status that it is to have; empty: completed
    errors: tuple[LineError, ...]
    files: dict[str, str]  # ids of the result's files, by part


class BatchStore:
    """Reads and changes batches; every step may be repeated."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def add(self, order: BatchOrder) -> None:
        """Enter a batch; its first step is due at once."""
        await self._redis.hset(keys.batch(order.id), mapping={"order": order.to_json(), "status": "validating"})
        await self._redis.zadd(keys.batches(order.tenant), {order.id: order.created})
        await self._redis.zadd(keys.BATCHES_DUE, {order.id: order.created})

    async def find(self, batch: str, caller: Caller | None = None) -> Batch:
        """Return a batch that the caller may see; raises ApiError 404."""
        fields = {text(name): text(value) for name, value in (await self._redis.hgetall(keys.batch(batch))).items()}
        found = _batch(fields) if "order" in fields else None
        if found is None or (caller is not None and not caller.may_see(found.order.tenant)):
            raise ApiError(404, f"No batch found with id {batch[:100]!r}.", param="batch_id", code="not_found")
        return found

    async def of_tenant(self, tenant: str) -> list[str]:
        """Return the ids of a tenant's batches, newest first."""
        stored = cast("list[bytes]", await self._redis.zrange(keys.batches(tenant), 0, -1, desc=True))
        return [text(batch) for batch in stored]

    async def forget(self, tenant: str, batches: Sequence[str]) -> None:
        """Remove the ids of batches whose records have expired."""
        if batches:
            await self._redis.zrem(keys.batches(tenant), *batches)

    async def claim(self, now: float, until: float) -> str | None:
        """Claim the batch whose next step has been due longest; it may be claimed again at `until`."""
        found = await self._redis.eval(_CLAIM, 1, keys.BATCHES_DUE, now, until)
        return None if found is None else text(found)

    async def due(self, batch: str, moment: float | None) -> None:
        """Set when the next step of a batch is due; None: it has ended."""
        if moment is None:
            await self._redis.zrem(keys.BATCHES_DUE, batch)
        else:
            await self._redis.zadd(keys.BATCHES_DUE, {batch: moment})

    async def move(self, batch: Batch, status: str, **fields: str | int) -> bool:
        """Change the status of a batch, and fields with it; False if it has another status by now."""
        flat = [part for pair in fields.items() for part in pair]
        names = (keys.batch(batch.order.id), keys.BATCHES_DUE)
        arguments = (batch.order.id, batch.status, status, time.time(), *flat)
        return bool(await self._redis.eval(_MOVE, 2, *names, *arguments))

    async def keep_for(self, batch: str, seconds: float) -> None:
        """Let everything of a batch that has ended expire."""
        for key in (keys.batch(batch), keys.batch_lines(batch), keys.batch_open(batch)):
            await self._redis.expire(key, max(1, int(seconds)))

    # --- lines ---

    async def store_lines(self, batch: str, lines: Sequence[Line]) -> None:
        """Store the lines of a batch by their numbers."""
        for first in range(0, len(lines), _CHUNK):
            chunk = {str(first + number): line.to_json() for number, line in enumerate(lines[first : first + _CHUNK])}
            await self._redis.hset(keys.batch_lines(batch), mapping=cast("Any", chunk))

    async def lines(self, batch: str, numbers: Sequence[int]) -> list[Line]:
        """Return lines by their numbers."""
        if not numbers:
            return []
        stored = await self._redis.hmget(keys.batch_lines(batch), [str(number) for number in numbers])
        return [Line.from_json(text(line)) for line in stored if line is not None]

    async def open_line(self, batch: str, number: int) -> None:
        """Note that a line is about to get its job."""
        await self._redis.sadd(keys.batch_open(batch), number)

    async def fail_line(self, batch: str, number: int, line: Line) -> None:
        """Store why a line got no job."""
        await self._redis.hset(keys.batch_lines(batch), str(number), line.to_json())
        await self.end_lines(batch, "failed", [number])

    async def open_lines(self, batch: str) -> list[int]:
        """Return the lines whose jobs have not ended."""
        return sorted(int(number) for number in await self._redis.smembers(keys.batch_open(batch)))

    async def end_lines(self, batch: str, outcome: str, numbers: Sequence[int]) -> None:
        """Count lines as completed or failed, each once."""
        for first in range(0, len(numbers), _CHUNK):
            chunk = numbers[first : first + _CHUNK]
            await self._redis.eval(_COUNT, 2, keys.batch(batch), keys.batch_open(batch), outcome, *chunk)

    async def set_submitted(self, batch: str, count: int) -> None:
        """Store how many lines have a job, or an error."""
        await self._redis.hset(keys.batch(batch), "submitted", str(count))


def _batch(fields: dict[str, str]) -> Batch:
    errors = json.loads(fields.get("errors", "[]"))
    return Batch(
        order=BatchOrder.from_json(fields["order"]),
        status=fields["status"],
        moments={name: float(fields[name]) for name in _MOMENTS if name in fields},
        total=int(fields.get("total", 0)),
        submitted=int(fields.get("submitted", 0)),
        completed=int(fields.get("completed", 0)),
        failed=int(fields.get("failed", 0)),
        ending=fields.get("ending", ""),
        errors=tuple(LineError.model_validate(error) for error in errors),
        files={part: fields[part] for part in ("output", "error") if part in fields},
    )
