"""The application: its routes, its layers, and the services that live as long as it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI

import whisper_fleet
from whisper_fleet.http.batches.clerk import advancing_batches
from whisper_fleet.http.errors import ERROR_RESPONSES, add_error_handlers
from whisper_fleet.http.openapi import describe
from whisper_fleet.http.request_id import RequestIds
from whisper_fleet.http.routes import ROUTERS
from whisper_fleet.http.services import HttpServices, open_services
from whisper_fleet.http.waiting.attachment import cancel_abandoned
from whisper_fleet.http.waiting.periodic import repeating
from whisper_fleet.shared.settings import Settings

#: Seconds between two looks: for jobs that ended, and for jobs that nobody waits for.
_COUNT_INTERVAL, _ABANDONED_INTERVAL = 5.0, 15.0


@asynccontextmanager
async def background_work(services: HttpServices) -> AsyncIterator[None]:
    """Do, while the context lasts, what no request does; every server does it, and each thing happens once."""
    async with (
        repeating("usage", services.quota.count_ended, _COUNT_INTERVAL),
        repeating("abandoned jobs", partial(cancel_abandoned, services), _ABANDONED_INTERVAL),
        advancing_batches(services),
    ):
        yield


def create_app(settings: Settings) -> FastAPI:
    """Return the HTTP server of the fleet of these settings, as an ASGI application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings) as services:
            app.state.services = services
            async with background_work(services):
                yield

    app = FastAPI(
        title="Whisper Fleet",
        version=whisper_fleet.__version__,
        summary="Transcription with OpenAI's audio API, and the fleet's own jobs.",
        lifespan=lifespan,
    )
    add_error_handlers(app)
    for router in ROUTERS:
        app.include_router(router, responses=ERROR_RESPONSES)
    app.add_middleware(RequestIds)
    describe(app)
    return app
