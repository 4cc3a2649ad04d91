"""Advances the batches of the fleet while a server runs: every server has a clerk, and each step goes to one of them.

A clerk claims the batch whose next step is due, for as long as a step may take. If its server dies, another clerk, or
the same one after a restart, claims the batch again and repeats the step.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from whisper_fleet.http.batches.records import BatchStore
from whisper_fleet.http.batches.steps import advance
from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.services import HttpServices
from whisper_fleet.shared.connect import is_outage

_log = logging.getLogger(__name__)

#: Seconds that a step may take.
LEASE_SECONDS = 120.0
_IDLE_SECONDS = 1.0
_RETRY_SECONDS = 10.0


@asynccontextmanager
async def advancing_batches(services: HttpServices) -> AsyncIterator[None]:
    """Advance batches while the context lasts."""
    stop = asyncio.Event()
    task = asyncio.create_task(_run(services, stop))
    try:
        yield
    finally:
        stop.set()  # and not cancelled: see http/waiting/disconnects.py
        await task


async def _run(services: HttpServices, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            pause = 0.0 if await step(services) else _IDLE_SECONDS
        except Exception as error:
            if not is_outage(error):
                _log.exception("a batch could not be advanced")
            pause = _RETRY_SECONDS
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)


async def step(services: HttpServices) -> bool:
    """Do the next step of the batch that has been due longest; return False if none is due."""
    store, now = BatchStore(services.redis), time.time()
    batch = await store.claim(now, now + LEASE_SECONDS)
    if batch is None:
        return False
    try:
        pause = await advance(services, batch)
    except ApiError as error:
        if error.status != 404:
            raise
        pause = None  # the batch is forgotten
    except Exception:
        await store.due(batch, time.time() + _RETRY_SECONDS)
        raise
    await store.due(batch, None if pause is None else time.time() + pause)
    return True
