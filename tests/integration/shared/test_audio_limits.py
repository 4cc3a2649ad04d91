"""What one file may ask of intake: its size, the length of its audio, and the time to decode it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.shared.test_audio import CLIP, children, ffmpeg
from tests.support.plan_audio import plan_audio
from whisper_fleet.shared import errors
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(spool_dir=tmp_path / "spool")


@pytest.fixture
def long_file(tmp_path: Path) -> Path:
    ffmpeg("-stream_loop", "20", "-i", CLIP, "-t", "100", "-c:a", "aac", tmp_path / "long.m4a")
    return tmp_path / "long.m4a"


def test_an_ffmpeg_that_goes_on_and_on_is_killed(tmp_path: Path) -> None:
    chatty = tmp_path / "ffmpeg"
    chatty.write_text("#!/bin/sh\nwhile true; do echo 0123456789; sleep 0.05; done\n")
    chatty.chmod(0o755)
    limited = Settings(spool_dir=tmp_path / "spool", ffmpeg=chatty, decode_timeout=0.5)
    before = children()
    with pytest.raises(errors.CorruptAudio, match=r"decoding it took more than 0\.5 s"):
        plan_audio(str(CLIP), "job", 300.0, limited)
    assert children() <= before


def one_hertz(path: Path) -> Path:
    """20 KB that are 5.6 hours."""
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 20_036, b"WAVE", b"fmt ", 16, 1, 1, 1, 1, 1, 8, b"data", 20_000)
    path.write_bytes(header + bytes([128]) * 20_000)
    return path


def long_silence(path: Path) -> Path:
    """An hour of digital silence in a few KB."""
    silence = ("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "3600")
    ffmpeg(*silence, "-c:a", "flac", "-frame_size", "16384", path.with_suffix(".flac"))
    return path.with_suffix(".flac")


@pytest.mark.parametrize("make", [one_hertz, long_silence])
def test_a_small_file_does_not_become_hours_of_audio(
    make: Callable[[Path], Path], tmp_path: Path, settings: Settings
) -> None:
    file = make(tmp_path / "small.wav")
    with pytest.raises(errors.AudioTooLong, match=r"too much for a file of .* WHISPER_FLEET_MAX_EXPANSION raised"):
        plan_audio(str(file), "job", 300.0, settings)
    assert Spool(settings).used() == 0
    generous = Settings(spool_dir=tmp_path / "spool", max_expansion=10.0)
    assert plan_audio(str(file), "job", 3600.0, generous).duration >= 3600


def test_a_file_longer_than_the_limit_is_refused_as_soon_as_that_shows(long_file: Path, tmp_path: Path) -> None:
    limited = Settings(spool_dir=tmp_path / "spool", max_audio_seconds=60)
    with pytest.raises(errors.AudioTooLong, match=r"holds more than 60 s .* WHISPER_FLEET_MAX_AUDIO_SECONDS raised"):
        plan_audio(str(long_file), "job", 30.0, limited)
    assert Spool(limited).used() == 0


def test_a_file_larger_than_the_limit_is_not_opened_by_ffmpeg(tmp_path: Path) -> None:
    limited = Settings(spool_dir=tmp_path / "spool", max_file_bytes=100_000, ffmpeg=Path("/bin/false"))
    with pytest.raises(errors.FileTooLarge, match="more than 98 KiB"):
        plan_audio(str(CLIP), "job", 30.0, limited)
