"""The routes: one module per resource, and one line here."""

from __future__ import annotations

from whisper_fleet.http.routes import health, internal, models

ROUTERS = (health.router, internal.router, models.router)
