"""Server-sent events, for clients that may disconnect at any moment."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from whisper_fleet.http.waiting.disconnects import watched_client

#: Seconds after which a comment is sent, so that no proxy ends a connection on which nothing happens.
_QUIET_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event; a client that reconnects sends the id of the last one as `Last-Event-ID`."""

    data: str  # one line
    id: str | None = None
    name: str | None = None

    @classmethod
    def of(cls, data: Any, **fields: str) -> Event:
        """Return an event with data as JSON."""
        return cls(data=json.dumps(data, ensure_ascii=False, separators=(",", ":")), **fields)

    def encoded(self) -> bytes:
        """Return the event as it is sent."""
        fields = [("event", self.name), ("id", self.id), ("data", self.data)]
        return ("".join(f"{name}: {value}\n" for name, value in fields if value is not None) + "\n").encode()


class EventStream(Response):
    """Sends events as they come; `on_disconnect` is called if the client leaves before their end.

    `events` yields None at least every few seconds when there is nothing new, so that a client that left is noticed.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncGenerator[Event | None], *, on_disconnect: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events, self._on_disconnect = events, on_disconnect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, as an ASGI application."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with watched_client(receive) as client, aclosing(self._events) as events:
            sent = time.monotonic()
            async for event in events:
                if client.is_gone:
                    break
                if event is not None or time.monotonic() - sent > _QUIET_SECONDS:
                    sent = time.monotonic()
                    await _send(send, b": \n\n" if event is None else event.encoded())
            has_left = client.is_gone
        if not has_left:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif self._on_disconnect is not None:
            await self._on_disconnect()


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
