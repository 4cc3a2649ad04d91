"""The caller of a route: its tenant, scopes and key. Every route but the public ones depends on one.

Without any key the server answers this machine alone. A page in a browser on this machine is not its user: it must not
reach the server by another site's name or from another origin, so `Host` and `Origin` must be this machine's, too.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request

from whisper_fleet.http.access.caller import Caller as Caller
from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.services import Services
from whisper_fleet.shared.http.api_keys import Scope

_CREATE = "whisper-fleet keys create --tenant NAME --scope submit,read"
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


def requires(scope: Scope) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """Return a dependency that provides the caller if it has this scope; it runs before the body is read.

    It counts the request, and refuses it above the limits of the key. A route that submits also calls `quota.start`.
    """

    async def caller(request: Request, services: Services) -> Caller:
        known = await _caller(request, services)
        if not known.has(scope):
            raise ApiError(403, f"this API key lacks the scope {scope}: create one that has it")
        await services.quota.count_request(known)
        if scope is Scope.SUBMIT:
            await services.quota.check(known)
        return known

    return caller


async def _caller(request: Request, services: Services) -> Caller:
    token = _bearer(request)
    key = await services.keys.find(token) if token else None
    if key is not None:
        return Caller(tenant=key.tenant, scopes=frozenset(key.scopes), key=key.id, limits=key.limits)
    if await services.keys.exist():
        what = "this API key is not valid" if token else "an API key is missing"
        raise ApiError(401, f"{what}: send it as `Authorization: Bearer wf_...`")
    if not is_local(request):
        raise ApiError(403, f"without API keys this server answers its own machine only: {_CREATE}")
    return Caller(tenant="", scopes=frozenset(Scope))


def is_local(request: Request) -> bool:
    """Return whether a request comes from this machine, and from neither a proxy nor another site's page."""
    peer = "" if request.client is None else request.client.host
    if not _is_loopback(peer) or any(name in request.headers for name in _FORWARDED):
        return False
    origin = request.headers.get("origin")
    names = [_host_name(f"//{request.headers.get('host', '')}"), *([] if origin is None else [_host_name(origin)])]
    return all(name == "localhost" or _is_loopback(name) for name in names)


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


#: What `Reader` depends on, for a route that has another way in, too.
reader = requires(Scope.READ)

#: The dependencies: `async def route(caller: Submitter) -> ...`.
Submitter = Annotated[Caller, Depends(requires(Scope.SUBMIT))]
Reader = Annotated[Caller, Depends(reader)]
Admin = Annotated[Caller, Depends(requires(Scope.ADMIN))]
