"""The main process of an intake node forks while it has threads, so its threads must not hold an import lock.

A child would inherit the lock, and wait for ever at its own first import of that module.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SPEECH
from tests.support.fleet_processes import running_fleet
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import receiving
from whisper_fleet.scheduler.hosts import HostPresence
from whisper_fleet.scheduler.intake.node.lifecycle import IntakeStep

pytestmark = pytest.mark.integration

POOL = "celery.worker.components:Pool"


@pytest.mark.parametrize("step", [IntakeStep, HostPresence])
def test_the_threads_of_a_node_start_after_its_pool_has_forked(step: type[IntakeStep | HostPresence]) -> None:
    assert POOL in (step.requires or ())


def test_no_thread_of_an_intake_node_imports_a_module(
    redis_url: str, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted, folder = tmp_path / "imports", str(Path(__file__).parents[2] / "support" / "thread_imports")
    monkeypatch.setenv("THREAD_IMPORTS", str(noted))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")]))
    with (
        receiving() as receiver,
        running_fleet(["intake"], redis_url, tmp_path, tiny_model.parent, callback_prefixes=[receiver.url]) as fleet,
    ):
        clip = str(SPEECH / "sense_and_sensibility-0880.wav")
        keywords = {"file_path": clip, "model_name": str(tiny_model), "callback_url": receiver.url}
        scheduled: Any = fleet.app.send_task("transcribe", kwargs=keywords, queue="transcribe", countdown=1.0)
        refused = fleet.submit(**{**keywords, "file_path": "/no/such/file.wav"})
        wait_until(lambda: refused.state == "FAILURE" and receiver.received)
        wait_until(lambda: scheduled.state == "PROGRESS")
        imports = noted.read_text() if noted.exists() else ""
        assert [line for line in imports.splitlines() if line.startswith(f"{fleet.processes['intake'].pid} ")] == []
