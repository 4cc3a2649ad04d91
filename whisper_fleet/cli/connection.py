"""The one way in which the commands about jobs reach a fleet.

A command calls `connect()` and uses what it returns; it knows neither Redis nor an address. A connection of another
kind, such as over HTTP, needs the methods of `Jobs`, and one more branch in `connect`. Without an answer, Redis' error
passes through within seconds.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from whisper_fleet.client import FleetClient
from whisper_fleet.outcome import Outcome
from whisper_fleet.shared.embedded_redis import local_settings
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import GpuStatus, JobProgress, JobState


class Jobs(Protocol):
    """What the commands do with jobs, as FleetClient does it: the same names, arguments and errors."""

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

    def __init__(self, jobs: Jobs, *, sees_our_files: bool) -> None:
        self.jobs = jobs
        #: Whether the fleet runs on this machine, so that a file which is missing here is missing for the fleet.
        self.sees_our_files = sees_our_files

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.jobs.close()


def connect() -> Connection:
    """Return a connection to the configured fleet, or else to the one that runs on this machine."""
    settings = local_settings()
    return Connection(connect_client(settings), sees_our_files=is_loopback(settings.redis_url))


def connect_client(settings: Settings) -> FleetClient:
    """Return a client of the fleet; raises Redis' error within seconds if Redis does not answer."""
    with connect_redis(settings) as redis:
        redis.ping()
    return FleetClient(settings)


def connect_redis(settings: Settings) -> Redis:
    """Return a client of the fleet's Redis whose commands raise Redis' error within seconds if it does not answer."""
    return Redis.from_url(settings.redis_url, retry=Retry(ConstantBackoff(0.5), 6), socket_connect_timeout=5.0)


def is_loopback(url: str) -> bool:
    """Return whether a URL of Redis names this machine."""
    host = urlsplit(url).hostname or "localhost"
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
