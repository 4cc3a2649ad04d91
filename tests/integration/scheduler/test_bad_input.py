"""What a client does wrong ends as FAILURE with a sentence that says what to do; the fleet goes on."""

from __future__ import annotations

import os
import subprocess
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import TimeoutError as CeleryTimeoutError

from tests.conftest import SPEECH
from tests.support.fleet_processes import FleetProcesses, running_fleet
from tests.support.waiting import wait_until
from whisper_fleet.shared import binaries, errors

pytestmark = pytest.mark.integration

CLIP = SPEECH / "sense_and_sensibility-0880.wav"


@pytest.fixture
def intake(redis_url: str, tmp_path: Path, tiny_model: Path) -> Iterator[FleetProcesses]:
    with running_fleet(["intake"], redis_url, tmp_path, tiny_model.parent) as fleet:
        yield fleet


def silence(path: Path, seconds: float) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * round(16_000 * seconds)))
    return path


def picture(path: Path) -> Path:
    """A video without sound."""
    source = ["-f", "lavfi", "-i", "color=size=64x64:duration=1"]
    command = [str(binaries.ffmpeg()), "-v", "error", *source, str(path)]
    subprocess.run(command, check=True)
    return path


def test_every_kind_of_bad_input_is_refused_at_once(intake: FleetProcesses, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "corrupt.mp3").write_bytes(b"this is no audio at all" * 100)
    (tmp_path / "a_file").touch()
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"file_path": "/no/such/file.wav"}, errors.FileMissing, "check the path"),
        ({"file_path": tmp_path}, errors.NotAFile, "give the path of one audio or video file"),
        ({"file_path": tmp_path / "empty.wav"}, errors.EmptyFile, "again"),
        ({"file_path": picture(tmp_path / "mute.mp4")}, errors.NoAudioStream, "send a file with sound"),
        ({"file_path": tmp_path / "corrupt.mp3"}, errors.CorruptAudio, "check that it plays"),
        ({"file_path": silence(tmp_path / "short.wav", 0.05)}, errors.AudioTooShort, "at least"),
        ({"file_path": CLIP, "model_name": "enormous"}, errors.UnknownModel, "use one of"),
        ({"file_path": CLIP, "language": "klingon"}, errors.UnknownLanguage, "use a code"),
        ({"file_path": CLIP, "language": "Cantonese"}, errors.BadOption, "large-v3"),
        ({"file_path": CLIP, "priority": 10}, errors.BadPriority, "from 0"),
        ({"file_path": CLIP, "priority": "high"}, errors.BadPriority, "from 0"),
        ({"file_path": CLIP, "output_path": tmp_path / "a_file" / "x"}, errors.OutputNotWritable, "choose"),
        ({"file_path": CLIP, "langauge": "en"}, errors.UnknownOption, "did you mean 'language'"),
        ({"file_path": "relative.wav"}, errors.BadOption, "absolute path"),
        ({"file_path": "https://example.org/a.mp3"}, errors.UrlNotAllowed, "may not be fetched"),
        ({"file_path": "http://[", "output_path": tmp_path}, errors.UrlNotAllowed, "may not be fetched"),
        ({}, errors.BadOption, "file_path"),
    ]
    jobs = [intake.submit(**asked) for asked, _, _ in cases]
    for job, (asked, kind, words) in zip(jobs, cases, strict=True):
        with pytest.raises(kind) as failure:
            job.get(timeout=60)
        assert words in str(failure.value), asked
        assert job.state == "FAILURE"
    assert intake.processes["intake"].poll() is None


def test_a_model_that_is_no_file_or_outside_the_allowed_directories_blocks_nothing(
    intake: FleetProcesses, tmp_path: Path, tiny_model: Path
) -> None:
    """As many of each kind as intake has processes and more, and then a good one."""
    fifo = tiny_model.parent / "fifo.pt"
    os.mkfifo(fifo)
    outside = {"/dev/zero", "/proc/self/mem", "/etc/passwd", "/no/such/model.pt", str(tmp_path / "away.pt")}
    try:
        blocked = [intake.submit(file_path=CLIP, model_name=fifo) for _ in range(5)]
        refused = {path: intake.submit(file_path=CLIP, model_name=path) for path in outside}
        good = intake.submit(file_path=CLIP, model_name=tiny_model)
        for job in blocked:
            with pytest.raises(errors.ModelUnavailable, match="not a regular file"):
                job.get(timeout=60)
        for path, job in refused.items():
            with pytest.raises(errors.ModelNotAllowed, match=f"^{path} is outside .* WHISPER_FLEET_MODEL_ROOTS"):
                job.get(timeout=60)
        wait_until(lambda: good.state == "PROGRESS" and good.info["seconds_total"])
    finally:
        fifo.unlink()


def test_positional_arguments_are_refused_with_the_way_to_do_it(intake: FleetProcesses) -> None:
    job = intake.app.send_task("transcribe", args=[str(CLIP)], queue="transcribe")
    with pytest.raises(errors.BadOption):
        job.get(timeout=60)


def test_a_job_waits_as_long_as_no_gpu_is_up(intake: FleetProcesses) -> None:
    job = intake.submit(file_path=CLIP, model_name="tiny-random")
    with pytest.raises(errors.UnknownModel):
        job.get(timeout=60)
    job = intake.submit(file_path=CLIP)
    wait_until(lambda: job.state == "PROGRESS" and job.info["seconds_total"])
    with pytest.raises(CeleryTimeoutError):
        job.get(timeout=5)
    assert job.state == "PROGRESS"
    assert job.info["seconds_total"] == pytest.approx(2.99, abs=0.01)
