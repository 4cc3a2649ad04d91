"""Every error of the HTTP server as OpenAI's error object: four keys, always, and the status that clients expect."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from whisper_fleet import errors
from whisper_fleet.shared.connect import is_outage

_log = logging.getLogger(__name__)

#: Seconds after which a client may try again when Redis is unreachable.
_OUTAGE_SECONDS = 5

#: OpenAI's words for the kinds of errors, by status; other 4xx are invalid_request_error.
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {
    401: "invalid_api_key",
    403: "insufficient_permissions",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    409: "conflict",
    413: "file_too_large",
    415: "unsupported_media_type",
    429: "rate_limit_exceeded",
    503: "service_unavailable",
}

#: The status of an error that the fleet raises; a RequestError that is not named is a 400, any other error a 500.
_STATUSES: dict[type[Exception], int] = {
    errors.JobNotFound: 404,
    errors.UnknownModel: 404,
    errors.JobExists: 409,
    errors.JobNotFinished: 409,
    errors.FileTooLarge: 413,
    errors.AudioTooLong: 413,
    errors.TooManyJobs: 429,
    errors.ModelUnavailable: 503,
}
#: OpenAI's code for an error that its clients may look for.
_CODES_OF = {errors.UnknownModel: "model_not_found", errors.JobCancelled: "job_cancelled"}
_ABOUT_THE_FILE = (
    errors.AudioTooLong,
    errors.AudioTooShort,
    errors.CorruptAudio,
    errors.EmptyFile,
    errors.FileTooLarge,
    errors.NoAudioStream,
)
_ABOUT_THE_MODEL = (errors.UnknownModel, errors.ModelNotAllowed, errors.ModelDoesNotFit, errors.ModelUnavailable)


class ErrorObject(BaseModel):
    """What went wrong, for OpenAI's clients; every key is always there."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every error."""

    error: ErrorObject


_DESCRIPTIONS = {
    400: "A parameter, or the file, is wrong.",
    401: "The API key is missing or not valid.",
    403: "The API key lacks the scope.",
    404: "It does not exist, or belongs to another tenant.",
    408: "The body did not come.",
    409: "It is in a state that does not allow this.",
    413: "The body, or its audio, is too large.",
    415: "The body has another type.",
    431: "The headers are too large.",
    429: "Too many requests or jobs; see `Retry-After`.",
    500: "The server failed.",
    503: "The fleet cannot be reached; see `Retry-After`.",
}

#: What only some routes answer with.
_RARE_DESCRIPTIONS = {
    412: "`Tus-Resumable` is missing, or names a version that the server does not know.",
    416: "The file does not have the range of bytes that `Range` names.",
    422: "The `Idempotency-Key` was used for another request.",
    423: "Another request is writing this upload.",
}


def _documented(descriptions: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    return {status: {"description": text, "model": ErrorBody} for status, text in descriptions.items()}


#: What every route may answer with, for the OpenAPI description.
ERROR_RESPONSES = _documented(_DESCRIPTIONS)


def rare_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of statuses that a route may answer with besides those of every route."""
    return _documented({status: _RARE_DESCRIPTIONS[status] for status in statuses})


class ApiError(Exception):
    """An error for a client: a status, and what OpenAI's error object holds."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code or _CODES.get(status)
        self.headers = {} if retry_after is None else {"retry-after": str(max(1, math.ceil(retry_after)))}
        if status == 401:
            self.headers["www-authenticate"] = "Bearer"

    def body(self) -> dict[str, Any]:
        """Return the error object."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """Return the complete response."""
        return JSONResponse(self.body(), self.status, self.headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, as an ASGI application."""
        await self.response()(scope, receive, send)


def api_error(error: BaseException) -> ApiError:
    """Return what a client learns of an error: of the fleet's all, of Redis' that it is down, of others nothing."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, errors.FleetError):
        return _of_the_fleet(error)
    if is_outage(error):
        return ApiError(503, "the fleet cannot be reached right now: try again", retry_after=_OUTAGE_SECONDS)
    return ApiError(500, "the server failed: its log has the reason, under the x-request-id of this response")


def _of_the_fleet(error: errors.FleetError) -> ApiError:
    status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), None)
    if status is None:
        status = 400 if isinstance(error, (errors.RequestError, errors.JobCancelled)) else 500
    code = next((code for kind, code in _CODES_OF.items() if isinstance(error, kind)), None)
    retry_after = _OUTAGE_SECONDS if status in (429, 503) else None
    return ApiError(status, str(error), param=_param(error), code=code, retry_after=retry_after)


def _param(error: errors.FleetError) -> str | None:
    if isinstance(error, _ABOUT_THE_FILE):
        return "file"
    if isinstance(error, _ABOUT_THE_MODEL):
        return "model"
    return "language" if isinstance(error, errors.UnknownLanguage) else None


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error with an error object: the fleet's, FastAPI's, Starlette's, and those that nobody expected."""
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    for kind in (ApiError, errors.FleetError):
        app.add_exception_handler(kind, _known_error)


def _known_error(_: Request, error: Exception) -> JSONResponse:
    return api_error(error).response()


def _http_error(_: Request, raised: Exception) -> JSONResponse:
    error = cast("HTTPException", raised)
    response = ApiError(error.status_code, str(error.detail)).response()
    headers: Mapping[str, str] = error.headers or {}
    response.headers.update(headers)
    return response


def _validation_error(_: Request, raised: Exception) -> JSONResponse:
    """Name the first parameter that is wrong, as OpenAI does: with 400, not 422."""
    first = cast("RequestValidationError", raised).errors()[0]
    names = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    param = ".".join(names) or None
    return ApiError(400, f"{param or 'the request'}: {first['msg']}", param=param).response()
