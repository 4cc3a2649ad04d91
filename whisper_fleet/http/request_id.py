"""The outermost layer: an id for every request, and an error object for every error, those of other layers included."""

from __future__ import annotations

import logging
import uuid
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whisper_fleet.http.errors import ApiError, api_error
from whisper_fleet.shared import tracing
from whisper_fleet.shared.display.log_fields import add_log_fields

_log = logging.getLogger(__name__)

#: The id of the request that this task answers, for log lines.
request_id: ContextVar[str] = ContextVar("request_id", default="")


class RequestIds:
    """Sends `x-request-id` with every response, and closes the connection of a body that is refused half-way."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = f"req_{uuid.uuid4().hex}"
        request_id.set(name)
        add_log_fields(request=name)
        has_begun = False
        has_body = _has_body(scope)

        async def receive_noted() -> Message:
            nonlocal has_body
            message = await receive()
            has_body = has_body and bool(message.get("more_body", False))
            return message

        async def send_with_id(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = name
                if has_body:  # the rest is not read, however much it is
                    headers["connection"] = "close"
            await send(message)

        try:
            with _traced(scope, name):
                await self._app(scope, receive_noted, send_with_id)
        except Exception as error:
            answer = api_error(error)
            if answer.status == 500 and not isinstance(error, ApiError):
                _log.exception("request %s failed: %s %s", name, scope["method"], scope["path"])
            if has_begun:  # nothing can be taken back: the connection ends in the middle
                raise
            await answer(scope, receive, send_with_id)


def _traced(scope: Scope, name: str) -> AbstractContextManager[object]:
    """Trace a request as part of the trace that its client sent; probes are not traced."""
    path = str(scope["path"])
    if not path.startswith("/v1/"):
        return nullcontext()
    values = [value for header, value in scope["headers"] if header == b"traceparent"]
    parent = tracing.valid_header(values[0].decode("latin-1")) if values else None
    resource = "/".join(path.split("/")[:3])  # without ids, of which there is no end
    return tracing.span(f"{scope['method']} {resource}", parent, "server", request=name)


def _has_body(scope: Scope) -> bool:
    """Return whether a body follows the headers of a request."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )
