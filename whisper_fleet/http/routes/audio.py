"""`POST /v1/audio/transcriptions` and `/v1/audio/translations`, to the letter of OpenAI's contract."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.responses import Response

from whisper_fleet.http.access.callers import Caller, Submitter
from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.events import EventStream
from whisper_fleet.http.openai.options import AudioOptions, Task, audio_options
from whisper_fleet.http.openai.responses import body_of
from whisper_fleet.http.openai.schema import FORM, RESPONSES
from whisper_fleet.http.openai.stream import transcription_events
from whisper_fleet.http.services import HttpServices, Services
from whisper_fleet.http.uploads.multipart import received_form
from whisper_fleet.http.waiting.attachment import Disconnected, attach
from whisper_fleet.http.waiting.disconnects import watched_client
from whisper_fleet.outcome import JobResult

router = APIRouter(prefix="/v1/audio", tags=["audio"])

_SCHEMA: dict[str, Any] = {"openapi_extra": FORM, "responses": RESPONSES, "response_class": JSONResponse}


@router.post("/transcriptions", **_SCHEMA)
async def transcribe(request: Request, services: Services, caller: Submitter) -> Response:
    """Transcribe a file in the language that is spoken."""
    return await _answered(request, services, caller, "transcribe")


@router.post("/translations", **_SCHEMA)
async def translate(request: Request, services: Services, caller: Submitter) -> Response:
    """Translate the speech of a file to English."""
    return await _answered(request, services, caller, "translate")


async def _answered(request: Request, services: HttpServices, caller: Caller, task: Task) -> Response:
    """Submit the file, or join the job that it has, and answer when that has ended, or as it goes."""
    async with received_form(request, services.uploads) as form:
        options = audio_options(form.fields, task, services.settings)
        upload = form.files.get("file")
        if upload is None:
            raise ApiError(400, "you must provide a file", param="file", code="missing_required_parameter")
        keywords = {**options.request, "tenant": caller.tenant}
        attachment = await attach(services, caller, form, upload, keywords)
    if options.is_streamed:
        return EventStream(transcription_events(services, attachment), on_disconnect=attachment.abandon)
    async with watched_client(request.receive) as client:
        try:
            result = await attachment.result(client)
        except Disconnected:
            await attachment.abandon()
            raise ApiError(408, "the client disconnected") from None  # nobody reads it
    await attachment.answered()
    return _response(result, options, task)


def _response(result: JobResult, options: AudioOptions, task: Task) -> Response:
    body = body_of(result, options, task)
    if isinstance(body, str):
        return PlainTextResponse(body, media_type="text/vtt" if options.response_format == "vtt" else "text/plain")
    return JSONResponse(body.model_dump(exclude_none=True))
