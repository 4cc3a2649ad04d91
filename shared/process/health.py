"""Decides whether a program of this machine works: the only place that does.

Callers: `whisper-fleet health`, `whisper-fleet up` while it starts, and `/readyz` of each process (probes.py). A
program works if it can do its work now, which needs Redis. Whether a process makes progress at all, so that a restart
would not help it, is `is_alive`: it does not depend on Redis.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from typing import Any

from celery import Celery
from redis import Redis
from redis.exceptions import RedisError

from whisper_fleet.shared import names
from whisper_fleet.shared.broker.watchdog import PATIENCE, signs
from whisper_fleet.shared.connect import connect_fail_fast
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.settings.http import USUAL_HTTP

#: Flower's port for which the settings name none.
USUAL_FLOWER = 5555
_SECONDS = 3.0


def is_alive() -> bool:
    """Return whether this process makes progress: its consumer, or its beat, was seen to work recently.

    The watchdog ends a worker that does not, while Redis accepts writes; so here it has some seconds more.
    """
    return time.monotonic() - signs.seen < 1.5 * PATIENCE


def problem_of(program: str, settings: Settings, index: int = 0) -> str | None:
    """Return why a program of this machine does not work, or None if it does; a Redis error is such a reason."""
    try:
        with connect_fail_fast(settings.redis_url) as redis:
            redis.ping()
            return _CHECKS[program](redis, settings, index)
    except RedisError as error:
        return f"Redis at {settings.redis_url.rsplit('@', 1)[-1]} does not answer: {error}"


def _redis(redis: Redis, settings: Settings, index: int) -> str | None:
    return None  # it has answered


def _beat(redis: Redis, settings: Settings, index: int) -> str | None:
    """Check that some beat of the fleet sends the ticks: those that wait for the lease are as healthy."""
    return None if redis.exists(keys.BEAT_LEASE) else "no beat of the fleet sends ticks"


def _gpu(redis: Redis, settings: Settings, index: int) -> str | None:
    gpu = names.GpuName(settings.host, index)
    registry = GpuRegistry(redis)
    alive = registry.gpus(registry.now(), settings.heartbeat_timeout)
    status = next((status for status in alive if status.id == str(gpu)), None)
    if status is None:
        return f"GPU {gpu} sends no heartbeat"
    return None if status.ready else f"GPU {gpu} takes no segments: its engine does not answer yet, or its node stops"


def _node(name_of: Callable[[str], str]) -> Callable[[Redis, Settings, int], str | None]:
    """Return the check of a Celery node: it must answer a ping through the broker."""

    def check(redis: Redis, settings: Settings, index: int) -> str | None:
        node = name_of(settings.host)
        app: Any
        with Celery("health", set_as_current=False) as app:
            app.config_from_object("whisper_fleet.celeryconfig")
            app.conf.broker_url = settings.redis_url
            inspect = app.control.inspect(destination=[node], timeout=_SECONDS)
            return None if inspect.ping() else f"{node} does not answer a ping within {_SECONDS:.0f} s"

    return check


def _http_server(redis: Redis, settings: Settings, index: int) -> str | None:
    return _no_response("the HTTP server", f"http://127.0.0.1:{settings.http_port or USUAL_HTTP}/health")


def _flower(redis: Redis, settings: Settings, index: int) -> str | None:
    return _no_response("Flower", f"http://127.0.0.1:{settings.flower_port or USUAL_FLOWER}/healthcheck")


def _no_response(name: str, url: str) -> str | None:
    """Return why a server does not answer with success at `url`; None if it does."""
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS):  # noqa: S310  # always http
            return None
    except OSError as error:  # URLError is one
        return f"{name} does not answer at {url}: {error}"


_CHECKS: dict[str, Callable[[Redis, Settings, int], str | None]] = {
    "redis": _redis,
    "beat": _beat,
    "scheduler": _node(names.scheduler_node),
    "host": _node(names.host_node),
    "intake": _node(names.intake_node),
    "gpu": _gpu,
    "http": _http_server,
    "flower": _flower,
}
