"""A small file that decodes to days of sound: it is refused with 413 on every way in, and leaves nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.fleet_processes import FleetProcesses, running_fleet
from tests.support.http_server import running_server
from tests.support.waiting import wait_until
from whisper_fleet.shared.binaries import ffmpeg
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path, tiny_model: Path) -> Iterator[FleetProcesses]:
    """A fleet without GPUs: the bomb ends in intake."""
    options = {"default_model": str(tiny_model), "default_precision": "float32", "max_audio_seconds": 60}
    with running_fleet(("beat", "scheduler", "intake"), redis_url, tmp_path, tiny_model.parent, **options) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours of silence in a file of some kilobytes."""
    path = tmp_path_factory.mktemp("bomb") / "bomb.flac"
    command = [str(ffmpeg()), "-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "7200", "-compression_level", "12"]
    subprocess.run([*command, "-frame_size", "16384", str(path)], check=True, capture_output=True)
    assert path.stat().st_size < 200_000
    return path


def test_a_bomb_is_refused_and_leaves_nothing(fleet: FleetProcesses, bomb: Path) -> None:
    with running_server(fleet.settings) as url, httpx.Client(base_url=url, timeout=100) as web:
        for path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
            answer = web.post(path, files={"file": ("talk.flac", bomb.read_bytes())}, data={"model": "whisper-1"})
            assert (answer.status_code, answer.json()["error"]["param"]) == (413, "file")
        job = web.post("/v1/jobs", files={"file": ("talk.flac", bomb.read_bytes())}).json()["id"]
        wait_until(lambda: web.get(f"/v1/jobs/{job}").json()["state"] == "failed", 60, interval=0.1)
        failed = web.get(f"/v1/jobs/{job}/transcript")
        assert (failed.status_code, failed.json()["error"]["code"]) == (409, "job_failed")
        assert web.get(f"/v1/jobs/{job}").json()["error"]["type"] == "AudioTooLong"
        for each in web.get("/v1/jobs").json()["data"]:
            wait_until(lambda each=each: web.delete(f"/v1/jobs/{each['id']}").status_code == 200)  # type: ignore[misc]
    assert list(fleet.settings.uploads.iterdir()) == []
    assert list(fleet.settings.spool.rglob("*.pcm")) == []
    left = [*fleet.redis.keys(keys.job("*")), *fleet.redis.keys(keys.upload("*"))]
    assert [key for key in left if fleet.redis.ttl(key) < 0] == []
    assert all(text(key).endswith(":deleted") for key in left)  # notes that a job was deleted, which expire
