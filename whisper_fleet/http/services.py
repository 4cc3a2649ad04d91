"""What the routes work with: one per process, made when the server starts, and reached as a dependency."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request
from redis.asyncio import Redis

from whisper_fleet.aio import AsyncFleetClient, connect_async
from whisper_fleet.http.access.keys import ApiKeys
from whisper_fleet.http.access.quota import Quota
from whisper_fleet.http.estimate import Estimator
from whisper_fleet.http.uploads.store import UploadStore
from whisper_fleet.http.waiting.waiters import Waiters
from whisper_fleet.shared.settings import Settings


@dataclass(frozen=True, kw_only=True)
class HttpServices:
    """The fleet as the HTTP server reaches it. Nothing in here outlives the process."""

    settings: Settings
    fleet: AsyncFleetClient
    redis: Redis  # for the keys that the HTTP server owns; jobs go through `fleet`
    keys: ApiKeys
    uploads: UploadStore
    waiters: Waiters
    quota: Quota
    estimator: Estimator


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[HttpServices]:
    """Provide the services of a process while it runs; nothing connects before it is used."""
    redis = connect_async(settings.redis_url)
    async with AsyncFleetClient(settings) as fleet:
        estimator = Estimator(redis, fleet)
        yield HttpServices(
            settings=settings,
            fleet=fleet,
            redis=redis,
            keys=ApiKeys(redis),
            uploads=UploadStore(settings, redis),
            waiters=Waiters(redis),
            quota=Quota(redis, settings, estimator),
            estimator=estimator,
        )
    await redis.aclose()


def _services(request: Request) -> HttpServices:
    return cast("HttpServices", request.app.state.services)


#: The dependency: `async def route(services: Services) -> ...`.
Services = Annotated[HttpServices, Depends(_services)]
