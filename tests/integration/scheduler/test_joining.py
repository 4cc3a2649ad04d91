"""A machine that joins a fleet on an outside Redis: what keeps it out is reported at once."""

from __future__ import annotations

import contextlib
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from click.testing import CliRunner
from redis import Redis
from redis.exceptions import AuthenticationError, ResponseError

from tests.support.gpu_status import gpu_status
from tests.support.redis_server import free_port
from whisper_fleet.cli.machine import up
from whisper_fleet.deploy.processes.host_conflict import refuse_host_conflict
from whisper_fleet.deploy.processes.state_dir import StateDir
from whisper_fleet.deploy.processes.supervisor import Supervisor
from whisper_fleet.shared.errors import SetupError
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.names import Role
from whisper_fleet.shared.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture
def supervisor(redis_url: str, tmp_path: Path) -> Supervisor:
    """What waiting for a fleet needs of its supervisor."""
    settings = Settings(redis_url=redis_url, var_dir=tmp_path)
    return cast(Supervisor, SimpleNamespace(settings=settings, state=StateDir(settings), roles=frozenset(Role)))


def test_a_wrong_password_is_not_waited_for(
    supervisor: Supervisor, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "_READY_SECONDS", 1.0)
    redis.config_set("requirepass", "another")
    with pytest.raises(AuthenticationError):
        up._wait_until_ready(supervisor)


def test_nor_is_a_database_that_redis_does_not_have(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "_READY_SECONDS", 1.0)
    url = supervisor.settings.redis_url.replace("/0", "/99")
    settings = supervisor.settings.model_copy(update={"redis_url": url})
    nowhere = SimpleNamespace(settings=settings, state=supervisor.state, roles=supervisor.roles)
    with pytest.raises(ResponseError, match="out of range"):
        up._wait_until_ready(cast(Supervisor, nowhere))


def beat(redis: Redis, host: str = "here") -> None:
    """Of a GPU of that host."""
    GpuRegistry(redis).beat(gpu_status(host, heartbeat=time.time()))


def named(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_url, var_dir=tmp_path, host="here", heartbeat_interval=0.1, heartbeat_timeout=0.5)


def test_a_second_machine_of_one_name_is_refused(
    redis_url: str, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take the first one's segments from it."""
    settings = named(redis_url, tmp_path)
    beat(redis)
    monkeypatch.setattr(time, "sleep", lambda _: beat(redis))
    with pytest.raises(SetupError, match=r"here\.0 is up elsewhere: set WHISPER_FLEET_HOST"):
        refuse_host_conflict(settings)


def test_a_machine_that_was_killed_may_come_back_under_its_name(
    redis_url: str, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = named(redis_url, tmp_path)
    beat(redis)
    sleep = time.sleep

    def beat_and_sleep(seconds: float) -> None:
        beat(redis, "other")
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", beat_and_sleep)
    refuse_host_conflict(settings)


def test_a_name_is_asked_about_only_where_redis_answers(tmp_path: Path) -> None:
    refuse_host_conflict(named(f"redis://127.0.0.1:{free_port()}/0", tmp_path))


@pytest.mark.parametrize(("is_embedded", "is_said"), [(False, True), (True, False)])
def test_up_says_what_an_outside_redis_may_lose(
    redis_url: str,
    redis: Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_embedded: bool,
    is_said: bool,
) -> None:
    redis.config_set("maxmemory-policy", "allkeys-lru")
    settings = named(redis_url, tmp_path)
    supervisor = SimpleNamespace(
        is_embedded=is_embedded,
        settings=settings,
        flower_url="",
        http_url=None,
        state=StateDir(settings),
        roles=frozenset(Role),
    )
    monkeypatch.setattr(up, "load_settings", lambda: settings)
    monkeypatch.setattr(up, "_prepare", lambda *_: None)
    monkeypatch.setattr(up, "running_fleet", lambda _: contextlib.nullcontext(supervisor))
    monkeypatch.setattr(up, "_wait_until_ready", lambda *_: [gpu_status("here")])
    monkeypatch.setattr("signal.pause", partial(sys.exit, 0))  # as Ctrl-C ends it
    printed = CliRunner().invoke(up.up, catch_exceptions=False).output
    assert ("set maxmemory-policy noeviction" in printed) == is_said and "here.0" in printed
