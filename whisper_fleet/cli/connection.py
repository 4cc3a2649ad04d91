"""The one way in which the commands about jobs reach a fleet: through Redis, or through its HTTP server.

A command has `@server_options`, calls `connect()` and uses what it returns; it knows neither Redis nor an address. A
connection of another kind needs the methods of `Jobs`, and one more branch in `connect`. Without an answer, Redis'
error or ServerUnreachable passes through within seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import click
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from whisper_fleet.client import FleetClient
from whisper_fleet.http_client.client import HttpFleetClient
from whisper_fleet.outcome import Outcome
from whisper_fleet.shared.embedded_redis import local_settings
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.settings.values import is_loopback
from whisper_fleet.shared.wire import GpuStatus, JobProgress, JobState

F = TypeVar("F", bound=Callable[..., Any])


class Jobs(Protocol):
    """What the commands do with jobs, as both clients do it: the same names, arguments and errors."""

    def submit(self, *, job: str | None = None, **request: Any) -> str: ...
    def status(self, job: str) -> JobProgress: ...
    def outcome(self, job: str) -> Outcome | None: ...
    def record(self, job: str) -> JobRecord: ...
    def running(self) -> list[JobRecord]: ...
    def jobs(
        self, *, states: Collection[JobState] = (), labels: Mapping[str, str] | None = None, since: float | None = None
    ) -> Iterator[JobRecord]: ...
    def cancel(self, job: str) -> bool: ...
    def retry(self, job: str) -> str: ...
    def delete(self, job: str) -> None: ...
    def gpus(self) -> list[GpuStatus]: ...
    def close(self) -> None: ...


class Connection:
    """A fleet that a command has reached; a context manager that ends the connection, and no job."""

    def __init__(self, jobs: Jobs, *, sees_our_files: bool, uploads: bool = False) -> None:
        self.jobs = jobs
        #: Whether the fleet runs on this machine or gets our files, so that what is missing here is missing for it.
        self.sees_our_files = sees_our_files
        #: Whether files are uploaded: then this machine writes the transcripts, because the fleet has no such folder.
        self.uploads = uploads

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.jobs.close()


def connect() -> Connection:
    """Return a connection to the configured server or fleet, or else to the fleet that runs on this machine."""
    settings = local_settings()
    if server := chosen_server():
        return Connection(_connect_http(server), sees_our_files=True, uploads=True)
    return Connection(connect_client(settings), sees_our_files=is_on_this_machine(settings.redis_url))


def chosen_server() -> str | None:
    """Return the HTTP server that the command is to use, by its option or the settings; None for Redis."""
    return _given("server") or local_settings().server


def server_options(command: F) -> F:
    """Add --server and --key; `connect` reads them."""
    command = click.option(
        "--key",
        metavar="KEY",
        callback=_remember,
        expose_value=False,
        help="API key of --server. Others on this machine can see it here: WHISPER_FLEET_KEY hides it.",
    )(command)
    return click.option(
        "--server",
        metavar="URL",
        callback=_remember,
        expose_value=False,
        help="HTTP server to use instead of Redis. Default: WHISPER_FLEET_SERVER.",
    )(command)


def _remember(context: click.Context, option: click.Parameter, value: str | None) -> None:
    context.meta[f"{__name__}.{option.name}"] = value


def _given(option: str) -> str | None:
    context = click.get_current_context(silent=True)
    value: str | None = None if context is None else context.meta.get(f"{__name__}.{option}")
    return value


def _connect_http(server: str) -> HttpFleetClient:
    secret = local_settings().key
    client = HttpFleetClient(server, key=_given("key") or (secret.get_secret_value() if secret else ""))
    client.ping()
    return client


def connect_client(settings: Settings) -> FleetClient:
    """Return a client of the fleet; raises Redis' error within seconds if Redis does not answer."""
    with connect_redis(settings) as redis:
        redis.ping()
    return FleetClient(settings)


def connect_redis(settings: Settings) -> Redis:
    """Return a client of the fleet's Redis whose commands raise Redis' error within seconds if it does not answer."""
    return Redis.from_url(settings.redis_url, retry=Retry(ConstantBackoff(0.5), 6), socket_connect_timeout=5.0)


def is_on_this_machine(url: str) -> bool:
    """Return whether a URL of Redis names this machine."""
    return is_loopback(urlsplit(url).hostname or "localhost")
