"""One request and its response: tries again while the server is down or busy, and turns refusals into errors.

HttpFleetClient and its uploads call it. It knows the server's address and the API key, and nothing of jobs. A request
that is tried again must be harmless to repeat: submissions carry an Idempotency-Key.
"""

from __future__ import annotations

import json
import logging
import time
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from typing import IO, Any, cast
from urllib.error import HTTPError
from urllib.parse import urlsplit

from whisper_fleet.errors import RequestError
from whisper_fleet.shared.connect import pauses
from whisper_fleet.shared.errors import BadSetting, ServerRefused, ServerUnreachable

_log = logging.getLogger(__name__)

#: Seconds for which a request is tried again: without a response, and while the server asks to come back later.
PATIENCE_SECONDS, BUSY_SECONDS = 30.0, 300.0
_TIMEOUT_SECONDS = 60.0
_BUSY, _DOWN = (429,), (502, 503, 504)
_WRONG_REQUEST = (400, 413, 415, 422)


@dataclass(frozen=True, kw_only=True)
class Response:
    """What a server sent back; names of headers are in any case."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """Return the body, which is JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object of the body; empty if a proxy or another server sent it."""
        try:
            error = self.json()["error"]
        except (ValueError, KeyError, TypeError):
            return {}
        return error if isinstance(error, dict) else {}


class Lost(Exception):
    """There is no response: the server is unreachable, or the connection was lost in the middle."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: another place must not get the key."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


class Exchange:
    """Sends requests to one server; used by many threads at once, because every request has its own connection."""

    def __init__(self, server: str, key: str | None) -> None:
        self.server = server.rstrip("/")
        try:
            parts = urlsplit(self.server)
            is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            is_address = False
        if not is_address:
            raise BadSetting(
                name="the server's address", reason=f"{server!r} is not like http://fleet.example.org:8000"
            )
        self._headers = {"user-agent": "whisper-fleet"} | ({"authorization": f"Bearer {key}"} if key else {})
        self._opener = urllib.request.build_opener(_NoRedirects)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        accepted: Iterable[int] = (),
        patience: float = PATIENCE_SECONDS,
    ) -> Response:
        """Return the response to a request with a JSON body or none; try again while the server is down or busy.

        Raises ServerUnreachable, RequestError for what the server finds wrong, and ServerRefused for any other status
        that is neither a success nor in `accepted`.
        """
        began, waits = time.monotonic(), pauses()
        while True:
            try:
                response = self.once(method, path, body=body, headers=headers)
            except Lost as lost:
                pause, limit, reason = next(waits), patience, str(lost)
            else:
                if response.status not in (*_BUSY, *_DOWN) or response.status in accepted:
                    return self.checked(response, accepted)
                pause = max(_retry_after(response), next(waits))
                limit = min(patience, BUSY_SECONDS) if response.status in _DOWN else BUSY_SECONDS
                reason = _reason(response)
            if time.monotonic() + pause - began > limit:
                raise ServerUnreachable(server=self.server, reason=reason)
            _log.info("%s: %s; trying again in %.1f s", self.server, reason, pause)
            time.sleep(pause)

    def once(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        data: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Return the response to a request that is sent once, whatever its status; raises Lost."""
        sent = {**self._headers, **(headers or {})}
        if body is not None:
            data, sent["content-type"] = json.dumps(body).encode(), "application/json"
        url = self.server + path  # __init__ has checked its scheme
        request = urllib.request.Request(url, data=cast("Any", data), headers=sent, method=method)  # noqa: S310
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                return Response(status=response.status, headers=response.headers, body=response.read())
        except HTTPError as error:
            with error:
                return Response(status=error.code, headers=error.headers, body=_rest(error))
        except (OSError, HTTPException, ValueError) as error:  # ValueError: it does not speak HTTP
            raise Lost(str(getattr(error, "reason", error)) or type(error).__name__) from None

    def checked(self, response: Response, accepted: Iterable[int] = ()) -> Response:
        """Return a response that is a success or accepted; raises the error that any other one means."""
        if response.status < 300 or response.status in accepted:
            return response
        if response.status in _WRONG_REQUEST and response.error:
            raise RequestError(str(response.error.get("message")))
        raise ServerRefused(server=self.server, status=response.status, reason=_reason(response))


def _rest(error: HTTPError) -> bytes:
    try:
        return error.read()
    except (OSError, HTTPException):  # the status is known, and counts
        return b""


def _reason(response: Response) -> str:
    if message := response.error.get("message"):
        return str(message)
    if location := response.headers.get("location"):
        return f"it redirects to {location}"
    return f"status {response.status}, without an error that this client knows: is it the fleet's HTTP server?"


def _retry_after(response: Response) -> float:
    try:
        return float(response.headers.get("retry-after", "0"))
    except ValueError:  # a date
        return 0.0
