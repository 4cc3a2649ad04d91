"""The steps of docs/guide/operating.md for a backup of Redis bring the jobs back, and keep them afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from tests.conftest import missing
from tests.support.ledger_by_hand import LedgerByHand
from tests.support.redis_server import free_port
from tests.support.waiting import wait_until
from whisper_fleet.shared import binaries
from whisper_fleet.shared.connect import connect

pytestmark = pytest.mark.integration


@contextmanager
def server(folder: Path, append_only: str) -> Iterator[Redis]:
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--appendonly", append_only]
    with subprocess.Popen([binaries.redis_server(), *options], stdout=subprocess.DEVNULL) as process:
        try:
            client = connect(f"redis://127.0.0.1:{port}/0")
            client.ping()
            yield client
        finally:
            process.terminate()


def command_line() -> Path:
    """Return redis-cli, which comes with the server."""
    path = Path(binaries.redis_server()).with_name("redis-cli")
    if not path.exists():
        missing("redis-cli")
    return path


def test_jobs_of_a_copy_are_there_after_a_restore_and_after_the_next_restart(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    with server(before, "yes") as redis:
        LedgerByHand(redis).running(LedgerByHand(redis).planned("talk"))
        port = redis.connection_pool.connection_kwargs["port"]
        copy = [str(command_line()), "-u", f"redis://127.0.0.1:{port}", "--rdb", str(after / "dump.rdb")]
        subprocess.run(copy, check=True, capture_output=True)
    with server(after, "no") as redis:
        assert LedgerByHand(redis).jobs() == ["talk"]
        redis.config_set("appendonly", "yes")
        wait_until(lambda: is_appended(redis), 30.0)
        LedgerByHand(redis).planned("later")
    (after / "dump.rdb").unlink(missing_ok=True)
    with server(after, "yes") as redis:
        assert set(LedgerByHand(redis).jobs()) == {"talk", "later"}


def is_appended(redis: Redis) -> bool:
    """Return whether everything is in the append-only file, so that it is complete."""
    info = redis.info("persistence")
    return bool(info["aof_enabled"]) and not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]
