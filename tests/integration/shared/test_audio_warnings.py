"""What a client learns of a file whose sound is not complete, and that good files have no warnings."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import SPEECH
from tests.integration.shared.test_audio_selection import late, two_tracks, with_a_hole
from tests.support.plan_audio import plan_audio
from whisper_fleet.shared import binaries
from whisper_fleet.shared.audio import probing
from whisper_fleet.shared.audio.selection import STOCK, AudioSelection
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobWarning

pytestmark = pytest.mark.integration

CLIP = SPEECH / "sense_and_sensibility-0870.wav"
OTHER = SPEECH / "sense_and_sensibility-0880.wav"


def ffmpeg(*arguments: str | Path) -> None:
    command = [binaries.ffmpeg(), "-y", "-v", "error", *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(spool_dir=tmp_path / "spool")


def warnings(file: Path, settings: Settings, selection: AudioSelection = STOCK) -> tuple[JobWarning, ...]:
    return plan_audio(str(file), "job", 300.0, settings, selection=selection).warnings


def test_sound_that_starts_late_is_warned_of_unless_its_time_is_kept(tmp_path: Path, settings: Settings) -> None:
    (warning,) = warnings(late(tmp_path / "late.mkv"), settings)
    assert (warning.kind, warning.at) == ("late", 0.0)
    assert "starts 5.0 s after the beginning" in warning.message
    assert warnings(tmp_path / "late.mkv", settings, AudioSelection(keep_time=True)) == ()


def test_a_hole_is_warned_of_where_it_is(tmp_path: Path, settings: Settings) -> None:
    (warning,) = warnings(with_a_hole(tmp_path / "hole.mkv"), settings)
    assert warning.kind == "gap"
    assert warning.at == pytest.approx(3.0, abs=0.3)
    assert "a hole of 5.0 s" in warning.message
    assert warnings(tmp_path / "hole.mkv", settings, AudioSelection(keep_time=True)) == ()


@pytest.mark.parametrize(
    "name", ["a.mp3", "a.flac", "a.m4a", "a.mkv", "a.webm", "a.aiff", "a.au", "a.flv", "film.mp4", "film.mkv"]
)
def test_a_truncated_file_is_warned_of_with_what_it_declares(name: str, tmp_path: Path, settings: Settings) -> None:
    picture = ("-f", "lavfi", "-i", "testsrc=size=64x48:rate=5") if name.startswith("film") else ()
    whole, torn = tmp_path / f"whole-{name}", tmp_path / name
    clip = ("-stream_loop", "2", "-i", CLIP)
    ffmpeg(*picture, *clip, "-t", "20", "-ar", "48000", "-movflags", "+faststart" if ".m" in name else "0", whole)
    torn.write_bytes(whole.read_bytes()[: whole.stat().st_size * 4 // 10])
    plan = plan_audio(str(torn), "job", 300.0, settings)
    warning = next(one for one in plan.warnings if one.kind == "truncated")
    assert warning.at == pytest.approx(plan.duration, abs=0.001)
    assert "it declares 20." in warning.message
    assert warnings(whole, settings) == ()


@pytest.mark.parametrize("name", ["a.wav", "a.w64", "a.aac", "a.wma", "a.caf"])
def test_a_file_that_is_cut_in_a_packet_is_warned_of(name: str, tmp_path: Path, settings: Settings) -> None:
    whole, torn = tmp_path / f"whole-{name}", tmp_path / name
    ffmpeg("-stream_loop", "2", "-i", CLIP, "-t", "20", whole)
    torn.write_bytes(whole.read_bytes()[: whole.stat().st_size * 4 // 10])
    assert [one.kind for one in warnings(torn, settings)] == ["damaged"]
    assert warnings(whole, settings) == ()


def test_a_film_whose_sound_ends_early_is_complete(tmp_path: Path, settings: Settings) -> None:
    picture = ("-f", "lavfi", "-i", "testsrc=size=64x48:rate=5:duration=20")
    for name in ("film.mp4", "film.mkv"):
        ffmpeg(*picture, "-i", CLIP, "-c:v", "mpeg4", tmp_path / name)
        assert warnings(tmp_path / name, settings) == ()


def test_a_silent_track_next_to_one_with_sound_is_warned_of(tmp_path: Path, settings: Settings) -> None:
    file = two_tracks(tmp_path / "two.mkv")
    (warning,) = warnings(file, settings)
    assert warning.kind == "silent_track"
    assert "audio track 0 (stereo) is silent" in warning.message
    assert "audio_track=1" in warning.message
    assert warnings(file, settings, AudioSelection(track=1)) == ()


def test_silence_alone_is_no_warning(tmp_path: Path, settings: Settings) -> None:
    silence = ("-f", "lavfi", "-i", "anullsrc=r=16000:cl=stereo:d=3")
    ffmpeg(*silence, *silence, "-map", "0", "-map", "1", tmp_path / "silence.mka")
    assert warnings(tmp_path / "silence.mka", settings) == ()


@pytest.mark.parametrize("gain", ["-1", "-0.95"])
def test_channels_that_cancel_each_other_are_warned_of(gain: str, tmp_path: Path, settings: Settings) -> None:
    ffmpeg("-i", CLIP, "-af", f"pan=stereo|c0=c0|c1={gain}*c0", tmp_path / "a.flac")
    (warning,) = warnings(tmp_path / "a.flac", settings)
    assert warning.kind == "cancelled"
    assert "channel=left" in warning.message
    assert warnings(tmp_path / "a.flac", settings, AudioSelection(channel=0)) == ()


def test_channels_that_differ_or_are_quiet_are_no_warning(tmp_path: Path, settings: Settings) -> None:
    join = "join=inputs=2:channel_layout=stereo"
    ffmpeg("-i", CLIP, "-i", OTHER, "-filter_complex", join, tmp_path / "two.wav")
    ffmpeg("-i", CLIP, "-i", OTHER, "-filter_complex", f"{join},volume=-30dB", tmp_path / "quiet.wav")
    ffmpeg("-i", CLIP, "-af", "pan=stereo|c0=c0|c1=0*c0,volume=-20dB", tmp_path / "left.wav")
    for name in ("two.wav", "quiet.wav", "left.wav"):
        assert warnings(tmp_path / name, settings) == ()


def test_a_good_file_is_decoded_only_once(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def again(*_: object) -> None:
        pytest.fail("the file was looked at again")

    for name in ("running", "stream_pcm"):
        monkeypatch.setattr(probing, name, again)
    for name in ("a.mp3", "a.m4a", "a.ogg", "a.mkv", "a.ts", "a.flac", "stereo.wav"):
        ffmpeg("-i", CLIP, *(("-ac", "2") if name == "stereo.wav" else ()), tmp_path / name)
        assert warnings(tmp_path / name, settings) == ()
