"""`GET /v1/usage`: what keys used, by day."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from whisper_fleet.http.access.callers import Reader
from whisper_fleet.http.services import Services
from whisper_fleet.shared.http import keys as http_keys
from whisper_fleet.shared.http.usage import last_days, usage_from

router = APIRouter(prefix="/v1/usage", tags=["usage"])


class UsageOfKey(BaseModel):
    """What one key used on one day, by UTC."""

    date: str
    key: str
    tenant: str
    requests: int
    jobs: int
    audio_seconds: float


class UsageList(BaseModel):
    """Every key that the caller may see, today first."""

    object: Literal["list"] = "list"
    data: list[UsageOfKey]


@router.get("")
async def usage(services: Services, caller: Reader, days: Annotated[int, Query(ge=1, le=366)] = 30) -> UsageList:
    """Return what the keys of the caller's tenant used in the last days; for the scope admin, of all tenants."""
    tenants = {key.id: key.tenant for key in await services.keys.all()}
    data = []
    for day in last_days(days, time.time()):
        for used in usage_from(day, await services.redis.hgetall(http_keys.usage(day))):
            tenant = tenants.get(used.key, "")
            if caller.may_see(tenant):
                data.append(UsageOfKey(**used.model_dump(), tenant=tenant))
    return UsageList(data=data)
