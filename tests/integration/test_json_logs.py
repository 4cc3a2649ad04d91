"""The log of every process as JSON lines, while a job runs and another one fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet_processes import ALL, running_fleet
from tests.support.waiting import wait_until
from whisper_fleet.shared import errors

pytestmark = pytest.mark.integration

HOSTILE = "/in/\x1b[2J\n{} forged.wav"


def test_every_line_is_an_object_that_names_role_job_file_and_gpu(
    redis_url: str, tmp_path: Path, tiny_model: Path, speech: dict[Path, str]
) -> None:
    clip = next(iter(speech))
    with running_fleet(ALL, redis_url, tmp_path, tiny_model.parent, log_format="json") as fleet:
        job = fleet.submit(file_path=clip, model_name=str(tiny_model), tenant="acme")
        assert job.get(timeout=120)
        failed = fleet.submit(file_path=HOSTILE)
        with pytest.raises(errors.FileMissing):
            failed.get(timeout=60)
        wait_until(lambda: "is failed" in fleet.log("intake").read_text())
        wait_until(lambda: "is done" in fleet.log("gpu0").read_text())
    logs = {name: [json.loads(line) for line in fleet.log(name).read_text().splitlines()] for name in ALL}
    for name, lines in logs.items():
        assert lines, name
        assert {line["host"] for line in lines} == {"testhost"}
        assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
    assert {line["role"] for name in ("beat", "scheduler", "intake") for line in logs[name]} == {
        *("beat", "scheduler", "intake")
    }
    assert {line["role"] for line in logs["gpu0"]} == {"gpu", "engine"}
    assert {line["gpu"] for line in logs["gpu0"]} == {"testhost.0"}

    started = about(logs["gpu0"], job.id, "starts, attempt 1")
    assert (started["segment"], started["file"], started["tenant"]) == (0, clip.name, "acme")
    assert about(logs["intake"], job.id, "is done")["file"] == clip.name
    assert about(logs["intake"], failed.id, "is failed")["file"] == "\\x1b[2J\\n{} forged.wav"
    assert not [line for lines in logs.values() for line in lines if "Sending due task" in line["message"]]


def about(lines: list[dict[str, Any]], job: str, text: str) -> dict[str, Any]:
    """Return the only line about a job with this text."""
    (line,) = [line for line in lines if line.get("job") == job and text in line["message"]]
    return line
