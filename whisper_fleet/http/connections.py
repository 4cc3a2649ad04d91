"""One TCP connection of the server: uvicorn's, with a time limit for the headers and an error object for bad ones."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from whisper_fleet.http.errors import ApiError

#: Seconds in which a client must have sent its first request's headers. uvicorn itself waits for ever.
_HEADER_SECONDS = 20.0


class Connection(H11Protocol):
    """Ends a connection whose headers do not come, and answers headers that are malformed or too large."""

    _headers_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._headers_due = self.loop.call_later(_HEADER_SECONDS, self._end_without_request)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what h11 could not read, and close; 431 for headers above the limit."""
        is_too_large = len(self.conn.trailing_data[0]) >= (self.config.h11_max_incomplete_event_size or 0)
        error = ApiError(431 if is_too_large else 400, "the headers are too large" if is_too_large else msg)
        body = json.dumps(error.body()).encode()
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            "x-request-id": f"req_{uuid.uuid4().hex}",
        }
        events: list[Any] = [
            h11.Response(status_code=error.status, headers=list(headers.items())),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ]
        for event in events:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _end_without_request(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()
