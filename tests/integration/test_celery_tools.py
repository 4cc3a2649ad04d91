"""Celery's own tools work with `transcribe`, as another service uses them with tasks and a worker of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SPEECH
from tests.support.fleet_processes import FleetProcesses, running_fleet
from tests.support.node_by_hand import node_by_hand
from tests.support.service import run_workflows, service_worker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

CLIP = min(SPEECH.glob("*.wav"))
WORDS = CLIP.stem

#: What each workflow of the service gives.
EXPECTED: dict[str, Any] = {
    "link": [WORDS, {"words": WORDS, "parent": "linked", "root": "linked", "stamps": {}}],
    "link_error_at_once": ["FileMissing", True],
    "link_error_later": ["EngineRequestInvalid", True],
    "link_error_with_a_queue": ["EngineRequestInvalid", True],
    "chain_first": [WORDS, True],
    "chain_middle": [WORDS, True],
    "chain_last": WORDS,
    "chain_that_fails": ["EngineRequestInvalid", "EngineRequestInvalid"],
    "in_group": [WORDS] * 2,
    "in_chord": [WORDS] * 3,
    "chord_that_fails": ["EngineRequestInvalid", "ChordError"],
    "chord_with_a_cancelled_member": ["TaskRevokedError", "ChordError"],
    "replace": WORDS,
    "countdown": ["scheduled", WORDS, True],
    "eta": WORDS,
    "expires_while_it_waits": "TaskRevokedError",
    "expires_before_its_time": "TaskRevokedError",
    "revoked_before_its_time": "TaskRevokedError",
    "ignore_result": [WORDS, "PENDING"],
    "stamps": {"customer": "anna"},
}


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path) -> Iterator[FleetProcesses]:
    """Scheduler and intake as processes; a thread plays the GPU's node."""
    settings = {"heartbeat_timeout": 1e6, "dispatch_interval": 0.5, "recovery_interval": 1.0}
    with (
        running_fleet(("beat", "scheduler", "intake"), redis_url, tmp_path, tmp_path, **settings) as running,
        node_by_hand(running),
    ):
        yield running


def outcomes(python: str, fleet: FleetProcesses, directory: Path, *workflows: str) -> dict[str, Any]:
    """Run the service's workflows and return what each gives."""
    url = fleet.settings.redis_url
    with service_worker(python, url, directory):
        return run_workflows(python, url, CLIP, *workflows)


def test_every_tool_of_the_newest_celery(fleet: FleetProcesses, tmp_path: Path) -> None:
    assert outcomes(sys.executable, fleet, tmp_path) == EXPECTED


@pytest.mark.slow
@pytest.mark.parametrize("version", ["5.3", "5.4", "5.5", "5.6"])
def test_every_tool_of_older_versions_of_celery(version: str, fleet: FleetProcesses, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    packages = [f"celery[redis]=={version}.*", f"kombu=={version}.*", "packaging"]  # as they were released
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    assert outcomes(python, fleet, tmp_path) == EXPECTED
