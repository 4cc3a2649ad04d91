"""Health checks, without a key: `/readyz` (also `/health`): this server reaches Redis; `/livez`: it answers."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from pydantic import BaseModel

from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.services import Services

#: Seconds; a load balancer asks often and waits briefly.
_PATIENCE_SECONDS = 3.0

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The state of the server."""

    status: str


@router.get("/livez")
async def livez() -> Health:
    """Answer 200: the server answers, whether or not it reaches Redis."""
    return Health(status="ok")


@router.get("/readyz")
@router.get("/health")
async def health(services: Services) -> Health:
    """Answer 200 if the fleet's Redis answers, else 503."""
    try:
        await asyncio.wait_for(services.redis.ping(), _PATIENCE_SECONDS)
    except TimeoutError:
        raise ApiError(503, "the fleet's Redis does not answer", retry_after=_PATIENCE_SECONDS) from None
    return Health(status="ok")
