"""The commands of the guides to the HTTP API do what the guides say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.integration.whisper_fleet.http.conftest import ServedFleet

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]

REPOSITORY = Path(__file__).parents[4]
CLIP = REPOSITORY / "whisper_fleet" / "samples" / "sense_and_sensibility-0880.wav"
_DEFAULT = "http://127.0.0.1:8000"


def run_page(page: str, url: str, folder: Path) -> str:
    """Run the commands of a page one after the other, as a reader who copies all of them; return what they print."""
    if shutil.which("curl") is None:
        missing("curl")
    text = (REPOSITORY / "docs" / "guide" / page).read_text()
    commands = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert commands
    shutil.copy(CLIP, folder / "talk.wav")
    script = "set -eo pipefail\n" + "echo\n".join(commands).replace(_DEFAULT, url).replace(
        "curl -", "curl --fail-with-body -"
    )
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    run = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=150
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_the_jobs_of_the_guide(served: ServedFleet, tmp_path: Path) -> None:
    printed = run_page("jobs-api.md", served.url, tmp_path)
    assert "event: end" in printed
    assert '"project":"radio"' in printed
    assert '"total_seconds"' in printed
    assert "-->" in printed
    assert printed.rstrip().endswith('"deleted":true}')


def test_the_batch_of_the_guide(served: ServedFleet, tmp_path: Path) -> None:
    printed = run_page("batches.md", served.url, tmp_path)
    assert '"purpose":"user_data"' in printed
    assert '"endpoint":"/v1/audio/transcriptions"' in printed
