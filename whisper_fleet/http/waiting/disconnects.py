"""Notices that a client has disconnected while the server works for it.

Work is never interrupted: a cancelled command would leave its connection to Redis in the middle of an answer. Whoever
waits looks at `is_gone` every few seconds instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.types import Receive


class Client:
    """The client of one request, whose body has been read."""

    def __init__(self) -> None:
        self.is_gone = False


@asynccontextmanager
async def watched_client(receive: Receive) -> AsyncIterator[Client]:
    """Watch the client of a request while the context lasts.

    A server that stops cancels the request instead, so the end of a server is never taken for the end of a client.
    """
    client = Client()

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        client.is_gone = True

    watching = asyncio.create_task(watch())
    try:
        yield client
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
