"""A step that a server repeats beside its requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

_log = logging.getLogger(__name__)


@asynccontextmanager
async def repeating(name: str, step: Callable[[], Awaitable[object]], interval: float) -> AsyncIterator[None]:
    """Take a step every `interval` seconds while the context lasts; one that fails is taken again next time."""
    stop = asyncio.Event()

    async def repeat() -> None:
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), interval)
                return
            try:
                await step()
            except Exception as error:
                _log.warning("%s: trying again in %g s (%s)", name, interval, error)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        stop.set()  # and not cancelled: see disconnects.py
        await task
