"""The routes: one module per resource, and one line here."""

from __future__ import annotations

from whisper_fleet.http.page import routes as page
from whisper_fleet.http.routes import (
    audio,
    batches,
    files,
    fleet,
    health,
    internal,
    jobs,
    models,
    playback,
    uploads,
    usage,
)

ROUTERS = (
    audio.router,
    batches.router,
    files.router,
    fleet.router,
    health.router,
    internal.router,
    jobs.router,
    models.router,
    page.router,
    playback.router,
    uploads.router,
    usage.router,
)
