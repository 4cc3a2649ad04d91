"""A program in a venv of its own, with nothing but Celery installed, gets its transcript."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fleet_processes import FleetProcesses
from tests.support.speech_files import pause, samples, word_errors, words, write_wav

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(500)]

PROGRAM = Path(__file__).parents[1] / "support" / "plain_client.py"


@pytest.fixture
def celery_alone(tmp_path: Path) -> Path:
    """The Python of a venv with only celery[redis]; a skip with the reason where nothing can be installed."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "install", "celery[redis]==5.7.0"]
    installed = subprocess.run(command, capture_output=True, text=True)
    if installed.returncode != 0:
        reason = f"celery cannot be installed: {installed.stderr.strip()[-300:]}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return python


def test_a_program_that_has_only_celery_sees_progress_and_gets_the_transcript(
    fleet: FleetProcesses, celery_alone: Path, speech: dict[Path, str], tmp_path: Path
) -> None:
    spoken = pause(1).join(samples(clip) for clip in speech) * 2
    file = write_wav(tmp_path / "talk.wav", spoken)
    run = subprocess.run(
        [celery_alone, PROGRAM, fleet.settings.redis_url, file],
        cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    said = words(" ".join(speech.values())) * 2
    assert word_errors(words(seen["text"]), said) / len(said) <= 0.03
    assert len(set(seen["progress"])) >= 3
    assert seen["failure"][0] == "FileMissing"
    assert "/no/such/file.wav does not exist" in seen["failure"][1]
    assert (seen["state"], seen["ours"]) == ("FAILURE", [])
