"""One subscription for all the jobs that an AsyncFleetClient watches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from redis.asyncio import Redis

from whisper_fleet.shared.connect import Outage, is_outage, pauses
from whisper_fleet.shared.ledger.scripts import text

_log = logging.getLogger(__name__)

_READ_SECONDS = 1.0


class Publications:
    """Wakes coroutines when something is published on their channel.

    A wake-up is a hint, because messages are missed while the connection is lost. A coroutine that waits sets a time
    limit and then reads the state itself.
    """

    def __init__(self, redis: Redis) -> None:
        self._pubsub = redis.pubsub()
        self._waiting: dict[str, set[asyncio.Event]] = {}  # by channel
        self._reader: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()  # held while subscriptions change
        self._outage = Outage("following jobs", _log)

    @asynccontextmanager
    async def of(self, channel: str) -> AsyncIterator[Callable[[float], Awaitable[None]]]:
        """Subscribe to a channel; yields a function that waits for its next message, for so many seconds at most."""
        published = asyncio.Event()

        async def wait(seconds: float) -> None:
            with suppress(TimeoutError):
                await asyncio.wait_for(published.wait(), seconds)
            published.clear()

        await self._add(channel, published)
        try:
            yield wait
        finally:
            await self._remove(channel, published)

    async def close(self) -> None:
        """Stop reading and close the connection."""
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
            self._reader = None
        await cast("Any", self._pubsub).aclose()

    async def _add(self, channel: str, published: asyncio.Event) -> None:
        async with self._changing:
            if channel not in self._waiting:
                await self._pubsub.subscribe(channel)
            self._waiting.setdefault(channel, set()).add(published)
            if self._reader is None or self._reader.done():
                self._reader = asyncio.create_task(self._read())

    async def _remove(self, channel: str, published: asyncio.Event) -> None:
        async with self._changing:
            self._waiting[channel].discard(published)
            if not self._waiting[channel]:
                del self._waiting[channel]
                with self._outage.ignored():
                    await self._pubsub.unsubscribe(channel)

    async def _read(self) -> None:
        """Pass messages on until the client is closed; pause longer and longer while Redis is down or refuses."""
        waits = pauses()
        while True:
            try:
                with self._outage.noted():
                    message = await self._pubsub.get_message(timeout=_READ_SECONDS)
            except Exception as error:
                if not is_outage(error):
                    raise
                self._wake(list(self._waiting))
                await asyncio.sleep(next(waits))
                continue
            waits = pauses()
            if message is not None:
                self._wake([text(message["channel"])])

    def _wake(self, channels: list[str]) -> None:
        for channel in channels:
            for published in self._waiting.get(channel, ()):
                published.set()
