"""A machine that joins a fleet on a Redis of others: what keeps it out is said at once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, ResponseError
from rich.console import Console

from deploy.cli import fleet
from deploy.front import Front
from deploy.home import Home
from shared.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture
def front(redis_url: str, tmp_path: Path) -> Front:
    """As far as one that waits needs to know it."""
    settings = Settings(redis_url=redis_url, var_dir=tmp_path)
    return cast(Front, SimpleNamespace(redis_url=redis_url, home=Home(settings)))


def test_a_wrong_password_is_not_waited_for(front: Front, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "_READY_SECONDS", 1.0)
    redis.config_set("requirepass", "another")
    with pytest.raises(AuthenticationError):
        fleet._wait_until_ready(front, Console())


def test_nor_is_a_database_that_redis_does_not_have(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "_READY_SECONDS", 1.0)
    nowhere = SimpleNamespace(redis_url=front.redis_url.replace("/0", "/99"), home=front.home)
    with pytest.raises(ResponseError, match="out of range"):
        fleet._wait_until_ready(cast(Front, nowhere), Console())
