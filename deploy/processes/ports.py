"""The TCP ports at which a machine's servers listen: those of the settings, else the usual ones if they are free."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from whisper_fleet.deploy.processes.state_dir import free_port
from whisper_fleet.shared.errors import SetupError
from whisper_fleet.shared.names import Role
from whisper_fleet.shared.process.health import USUAL_FLOWER
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.settings.http import USUAL_HTTP
from whisper_fleet.shared.settings.values import is_loopback

#: Flower's variables of which each makes it ask for a login.
_FLOWER_LOGINS = ("FLOWER_BASIC_AUTH", "FLOWER_AUTH", "FLOWER_AUTH_PROVIDER")


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The ports of a machine; `http` is None where there is no HTTP server."""

    flower: int
    http: int | None = None


def choose_ports(settings: Settings, roles: Collection[Role]) -> Ports:
    """Return the ports for the servers of these roles; SetupError if a port was chosen, and it is in use."""
    if Role.FLOWER in roles:
        _check_login(settings.flower_address, os.environ)
    has_http = Role.HTTP in roles and has_http_extra()
    return Ports(
        flower=_port("flower", settings.flower_port, USUAL_FLOWER) if Role.FLOWER in roles else USUAL_FLOWER,
        http=_port("http", settings.http_port, USUAL_HTTP) if has_http else None,
    )


def _check_login(address: str, environment: Mapping[str, str]) -> None:
    """Raise SetupError if Flower would show every job to whoever reaches it from other machines.

    The variables are Flower's own.
    """
    if is_loopback(address) or any(environment.get(name) for name in _FLOWER_LOGINS):
        return
    fix = "set FLOWER_BASIC_AUTH=user:password, or have Flower listen on 127.0.0.1: see docs/security.md"
    raise SetupError(what=f"a login for Flower at {address}, which other machines reach", fix=fix)


def has_http_extra() -> bool:
    """Return whether the extra `http` is installed."""
    return all(find_spec(module) for module in ("fastapi", "uvicorn", "python_multipart"))


def _port(name: str, chosen: int | None, usual: int) -> int:
    if chosen is None:
        return free_port(usual)
    if free_port(chosen) != chosen:
        fix = f"another program uses it: stop that, or choose another WHISPER_FLEET_{name.upper()}_PORT"
        raise SetupError(what=f"TCP port {chosen} for {name.capitalize()}", fix=fix)
    return chosen
