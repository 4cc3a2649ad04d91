"""`GET /v1/fleet`: the hosts and GPUs that are up, what they are doing, and what waits for them."""

from __future__ import annotations

from fastapi import APIRouter

import whisper_fleet
from whisper_fleet.http.access.callers import Reader
from whisper_fleet.http.fleet.views import CallerView, FleetView, fleet_view
from whisper_fleet.http.services import Services
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text

router = APIRouter(prefix="/v1/fleet", tags=["fleet"])

_LEAST_URGENT = 9


@router.get("")
async def fleet(services: Services, caller: Reader) -> FleetView:
    """Return the fleet as its last heartbeats describe it, and who the caller is to it."""
    gpus = await services.fleet.gpus()
    stored = await services.redis.hmget(keys.SPEEDS, [gpu.id for gpu in gpus]) if gpus else []
    return fleet_view(
        version=whisper_fleet.__version__,
        gpus=gpus,
        speeds={gpu.id: float(text(speed)) for gpu, speed in zip(gpus, stored, strict=True) if speed is not None},
        backlog=await services.estimator.estimate(audio_seconds=0.0, priority=_LEAST_URGENT),
        problem=await services.fleet.intake_problem(),
        caller=CallerView(tenant=caller.tenant, scopes=sorted(caller.scopes), key=caller.key),
    )
