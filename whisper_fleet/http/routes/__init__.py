"""The routes: one module per resource, and one line here."""

from __future__ import annotations

from whisper_fleet.http.routes import audio, health, internal, models

ROUTERS = (audio.router, health.router, internal.router, models.router)
