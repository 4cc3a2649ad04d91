"""`GET /v1/models` and `/v1/models/{id}`: the models that this fleet has, and the names that it maps to them."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from whisper_fleet.http.access.callers import Reader
from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.model_names import names_of_models
from whisper_fleet.http.services import HttpServices, Services

router = APIRouter(prefix="/v1/models", tags=["models"])

#: The models have no date of their own: this is the day of openai-whisper's release that they belong to.
_CREATED = 1750809600


class Model(BaseModel):
    """A model, as OpenAI describes one."""

    id: str
    object: Literal["model"] = "model"
    created: int = _CREATED
    owned_by: str = "whisper-fleet"


class ModelList(BaseModel):
    """Every model."""

    object: Literal["list"] = "list"
    data: list[Model]


@router.get("")
async def list_models(services: Services, _: Reader) -> ModelList:
    """List the models: those with a checkpoint on the server, those loaded on a GPU, and the configured names."""
    return ModelList(data=[Model(id=name) for name in await _names(services)])


@router.get("/{model:path}")
async def get_model(model: str, services: Services, _: Reader) -> Model:
    """Return one model; 404 for a name that is not in the list."""
    if model not in await _names(services):
        raise ApiError(404, f"The model {model!r} does not exist here.", param="model", code="model_not_found")
    return Model(id=model)


async def _names(services: HttpServices) -> list[str]:
    gpus = await services.fleet.gpus()
    return await asyncio.to_thread(names_of_models, services.settings, gpus)
