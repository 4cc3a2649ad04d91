"""The routes: one module per resource, and one line here."""

from __future__ import annotations

from whisper_fleet.http.routes import audio, batches, files, health, internal, jobs, models, uploads, usage

ROUTERS = (
    audio.router,
    batches.router,
    files.router,
    health.router,
    internal.router,
    jobs.router,
    models.router,
    uploads.router,
    usage.router,
)
