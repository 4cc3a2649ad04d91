"""`/v1/batches`: transcribe many files at low priority, as OpenAI's batches of other endpoints."""

from __future__ import annotations

import re
import secrets
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from whisper_fleet.errors import CallbackNotAllowed
from whisper_fleet.http.access.callers import Reader, Submitter
from whisper_fleet.http.batches.lines import ENDPOINT
from whisper_fleet.http.batches.records import ENDED, Batch, BatchOrder, BatchStore
from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.files.records import find_file
from whisper_fleet.http.routes.pages import Page, page_of
from whisper_fleet.http.services import Services
from whisper_fleet.shared.audio.sources.prefixes import is_below

router = APIRouter(prefix="/v1/batches", tags=["batches"])

_WINDOW_SECONDS = 86400.0
_Text = Annotated[str, Field(max_length=512)]
_Name = Annotated[str, Field(max_length=64)]


class NewBatch(BaseModel):
    """What a client asks for."""

    input_file_id: Annotated[str, Field(max_length=100)]
    endpoint: Annotated[str, Field(max_length=100)]
    completion_window: Literal["24h"]
    metadata: Annotated[dict[_Name, _Text], Field(max_length=16)] | None = None
    callback_url: Annotated[str, Field(max_length=4096)] | None = None  # receives a webhook at the end


@router.post("")
async def create(asked: NewBatch, services: Services, caller: Submitter) -> dict[str, Any]:
    """Begin a batch with the lines of a stored file."""
    if asked.endpoint != ENDPOINT:
        raise ApiError(400, f"endpoint must be {ENDPOINT}", param="endpoint", code="invalid_value")
    if asked.callback_url is not None and not _is_allowed(asked.callback_url, services.settings.callback_prefixes):
        raise CallbackNotAllowed(url=asked.callback_url)
    file = await find_file(services.redis, asked.input_file_id, caller)
    if file.purpose != "batch":
        raise ApiError(400, f"{file.id} was stored for {file.purpose}, not for batch", param="input_file_id")
    now = time.time()
    order = BatchOrder(
        id=f"batch_{secrets.token_hex(16)}",
        tenant=caller.tenant,
        key=caller.key,
        created=now,
        expires=now + _WINDOW_SECONDS,
        **asked.model_dump(),
    )
    store = BatchStore(services.redis)
    await store.add(order)
    return _shown(await store.find(order.id))


def _is_allowed(url: str, prefixes: tuple[str, ...]) -> bool:
    return re.fullmatch(r"https?://[^\s/]+\S*", url) is not None and is_below(url, prefixes)


@router.get("")
async def list_(
    services: Services,
    caller: Reader,
    after: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=0, le=100)] = 20,
) -> Page:
    """List the batches of the caller's tenant, newest first."""
    store = BatchStore(services.redis)
    known, expired = [], []
    for batch in await store.of_tenant(caller.tenant):
        try:
            known.append(await store.find(batch))
        except ApiError:
            expired.append(batch)
    await store.forget(caller.tenant, expired)
    return page_of(known, limit, after, lambda batch: batch.order.id, _shown)


@router.get("/{batch_id}")
async def get(batch_id: str, services: Services, caller: Reader) -> dict[str, Any]:
    """Return a batch with its status and its counts."""
    return _shown(await BatchStore(services.redis).find(batch_id, caller))


@router.post("/{batch_id}/cancel")
async def cancel(batch_id: str, services: Services, caller: Submitter) -> dict[str, Any]:
    """Stop a batch: jobs that run are cancelled, and what is done stays in the output file."""
    store = BatchStore(services.redis)
    batch = await store.find(batch_id, caller)
    if batch.status in ENDED or batch.status == "finalizing":
        raise ApiError(409, f"batch {batch_id} is {batch.status}, and cannot be cancelled", param="batch_id")
    if batch.status != "cancelling":
        await store.move(batch, "cancelling")
    return _shown(await store.find(batch_id))


def _shown(batch: Batch) -> dict[str, Any]:
    """Return a batch as OpenAI shows one."""
    order, moments = batch.order, {name: int(moment) for name, moment in batch.moments.items()}
    errors = [error.model_dump() for error in batch.errors]
    return {
        "id": order.id,
        "object": "batch",
        "endpoint": order.endpoint,
        "model": None,
        "errors": {"object": "list", "data": errors} if errors else None,
        "input_file_id": order.input_file_id,
        "completion_window": order.completion_window,
        "status": batch.status,
        "output_file_id": batch.files.get("output"),
        "error_file_id": batch.files.get("error"),
        "created_at": int(order.created),
        "expires_at": int(order.expires),
        **{
            name: moments.get(name)
            for name in (
                "in_progress_at",
                "finalizing_at",
                "completed_at",
                "failed_at",
                "expired_at",
                "cancelling_at",
                "cancelled_at",
            )
        },
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "metadata": order.metadata,
    }
