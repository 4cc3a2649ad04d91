"""What real processes log about jobs and ticks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.fleet_processes import running_fleet
from whisper_fleet.shared import errors

pytestmark = pytest.mark.integration


def test_logs_name_files_without_their_control_characters_and_hold_no_ticks(
    redis_url: str, tmp_path: Path, tiny_model: Path
) -> None:
    fast = {"dispatch_interval": 0.2, "recovery_interval": 0.2}
    with running_fleet(["beat", "scheduler", "intake"], redis_url, tmp_path, tiny_model.parent, **fast) as fleet:
        job = fleet.submit(file_path="/in/\x1b[2J\nERROR forged.wav")
        with pytest.raises(errors.FileMissing, match=r"/in/\\x1b\[2J\\nERROR forged\.wav does not exist"):
            job.get(timeout=60)
        missing = fleet.submit(file_path=tmp_path / "a.wav", model_name=str(tiny_model.parent / "no.pt"))
        with pytest.raises((errors.FileMissing, errors.ModelUnavailable)):
            missing.get(timeout=60)
        time.sleep(1)
        logs = {name: fleet.log(name).read_text() for name in fleet.processes}
    assert f"{job.id} (\\x1b[2J\\nERROR forged.wav) is failed" in logs["intake"]
    assert "Traceback" not in logs["intake"]
    assert not [line for log in logs.values() for line in log.splitlines() if line.startswith("ERROR")]
    assert all("\x1b" not in log and "received" not in log and "succeeded in" not in log for log in logs.values())
    assert "Sending due task" not in logs["beat"]
