"""A broadcast command can neither stop a process of the fleet nor change what it consumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from tests.conftest import SPEECH
from tests.support.fleet_processes import running_fleet
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

CLIP = SPEECH / "sense_and_sensibility-0880.wav"

COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("shutdown", {}),
    ("cancel_consumer", {"queue": "transcribe"}),
    ("add_consumer", {"queue": "gpu.other.0"}),
    ("pool_shrink", {"n": 100}),
    ("pool_grow", {"n": 1000}),
    ("pool_restart", {}),
    ("autoscale", {"max": 0, "min": 0}),
    ("time_limit", {"task_name": "transcribe", "hard": 0.001}),
    ("rate_limit", {"task_name": "transcribe", "rate_limit": "1/h"}),
    ("no such command", {}),
]


def test_intake_accepts_jobs_after_every_hostile_command(
    redis_url: str, redis: Redis, tmp_path: Path, tiny_model: Path
) -> None:
    with (
        running_fleet(["intake"], redis_url, tmp_path, tiny_model.parent) as fleet,
        Celery(broker=redis_url, set_as_current=False) as app,
    ):
        for command, arguments in COMMANDS:
            app.control.broadcast(command, arguments=arguments)
        for hostile in (
            b"{]",
            b"[1]",
            b"{}",
            b'{"properties": {}}',
            b'{"body": 7, "properties": {"delivery_tag": []}}',
        ):
            redis.publish("/0.celery.pidbox", hostile)
        job = fleet.submit(file_path=CLIP)
        wait_until(lambda: job.state == "PROGRESS", timeout=60)
        queues = app.control.inspect(timeout=2).active_queues() or {}
        consumed = {queue["name"] for found in queues.values() for queue in found}
        assert consumed == {"transcribe", "transcribe.resumed", "assemble"}
