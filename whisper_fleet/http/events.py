"""Server-sent events, for clients that may disconnect at any moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from whisper_fleet.http.waiting.disconnects import Disconnected, until_disconnect

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
    """Sends events as they come; `on_disconnect` is called if the client leaves before their end."""

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncIterator[Event], *, on_disconnect: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events, self._on_disconnect = events, on_disconnect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, as an ASGI application."""
        try:
            await until_disconnect(receive, self._send_all(send))
        except Disconnected:
            if self._on_disconnect is not None:
                await self._on_disconnect()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        following = asyncio.ensure_future(anext(self._events, None))
        try:
            while True:
                done, _ = await asyncio.wait({following}, timeout=_QUIET_SECONDS)
                event = following.result() if done else None
                if done and event is None:
                    break
                await _send(send, b": \n\n" if event is None else event.encoded())
                if done:
                    following = asyncio.ensure_future(anext(self._events, None))
        finally:
            following.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
