"""Tracks, channels and the file's own time: the samples that a request selects, wherever they are decoded."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import SPEECH
from tests.support.plan_audio import plan_audio
from whisper_fleet.shared import binaries, errors
from whisper_fleet.shared.audio.decode import stream_pcm
from whisper_fleet.shared.audio.segments import read_segment
from whisper_fleet.shared.audio.selection import STOCK, AudioSelection
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.settings import Settings

pytestmark = pytest.mark.integration

CLIP = SPEECH / "sense_and_sensibility-0870.wav"
OTHER = SPEECH / "sense_and_sensibility-0880.wav"
KEEP_TIME = AudioSelection(keep_time=True)


def ffmpeg(*arguments: str | Path) -> None:
    command = [binaries.ffmpeg(), "-y", "-v", "error", *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(spool_dir=tmp_path / "spool")


def samples(file: Path, settings: Settings, selection: AudioSelection = STOCK) -> NDArray[np.int16]:
    return np.frombuffer(b"".join(stream_pcm(file, settings, selection=selection)), np.int16)


def late(file: Path) -> Path:
    """A film whose sound starts at 5 s."""
    picture = ("-f", "lavfi", "-i", "testsrc=size=64x48:rate=5:duration=12.1")
    ffmpeg(*picture, "-itsoffset", "5", "-i", CLIP, "-c:v", "mpeg4", "-c:a", "flac", file)
    return file


def with_a_hole(file: Path) -> Path:
    """The clip, a hole of 5 s after 3 s, and the rest of it."""
    ffmpeg("-i", CLIP, "-af", "asetnsamples=1600,asetpts=PTS+5/TB*gte(T\\,3)", "-c:a", "flac", file)
    return file


def test_sound_that_starts_late_starts_where_the_file_says(tmp_path: Path, settings: Settings) -> None:
    clip, kept = samples(CLIP, settings), samples(late(tmp_path / "late.mkv"), settings, KEEP_TIME)
    assert not kept[:80_000].any()
    assert np.array_equal(kept[80_000:], clip)
    assert np.array_equal(samples(tmp_path / "late.mkv", settings), clip)


def test_a_hole_becomes_silence_and_what_follows_keeps_its_time(tmp_path: Path, settings: Settings) -> None:
    clip, kept = samples(CLIP, settings), samples(with_a_hole(tmp_path / "hole.mkv"), settings, KEEP_TIME)
    assert np.array_equal(kept[:48_000], clip[:48_000])
    assert not kept[48_000:128_000].any()
    assert np.array_equal(kept[128_000:], clip[48_000:])
    assert np.array_equal(samples(tmp_path / "hole.mkv", settings), clip)


def test_a_file_without_holes_is_the_same_with_its_own_time(tmp_path: Path, settings: Settings) -> None:
    for name in ("a.flac", "a.mkv", "a.mp3"):
        ffmpeg("-i", CLIP, tmp_path / name)
        assert np.array_equal(samples(tmp_path / name, settings, KEEP_TIME), samples(tmp_path / name, settings))


def two_tracks(file: Path) -> Path:
    """Silence in stereo, which ffmpeg prefers, and then the clip."""
    silence = ("-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo:d=7")
    names = ("-metadata:s:a:1", "language=deu", "-metadata:s:a:1", "title=Die\nRede")
    ffmpeg(*silence, "-i", CLIP, "-map", "0", "-map", "1", "-c:a", "flac", *names, file)
    return file


def test_the_track_that_the_request_names_is_decoded(tmp_path: Path, settings: Settings) -> None:
    file = two_tracks(tmp_path / "two.mkv")
    assert not samples(file, settings).any()
    assert not samples(file, settings, selection=AudioSelection(track=0)).any()
    assert np.array_equal(samples(file, settings, selection=AudioSelection(track=1)), samples(CLIP, settings))


def test_a_track_that_does_not_exist_is_an_error_that_lists_those_that_do(tmp_path: Path, settings: Settings) -> None:
    file = two_tracks(tmp_path / "two.mkv")
    with pytest.raises(errors.AudioTrackMissing) as raised:
        plan_audio(str(file), "job", 300.0, settings, selection=AudioSelection(track=2))
    assert 'track 2: set audio_track to one of 0 (stereo); 1 (mono, deu, "Die' in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_film_without_sound_has_no_track(tmp_path: Path, settings: Settings) -> None:
    film = tmp_path / "film.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=1", "-c:v", "mpeg4", film)
    for selection in (STOCK, AudioSelection(track=0), KEEP_TIME, AudioSelection(channel=0)):
        with pytest.raises(errors.NoAudioStream):
            plan_audio(str(film), "job", 300.0, settings, selection=selection)


def test_one_channel_is_decoded_as_it_is(tmp_path: Path, settings: Settings) -> None:
    file, left, right = tmp_path / "stereo.wav", samples(CLIP, settings), samples(OTHER, settings)
    length = min(len(left), len(right))
    ffmpeg("-i", CLIP, "-i", OTHER, "-filter_complex", "join=inputs=2:channel_layout=stereo", file)
    assert np.array_equal(samples(file, settings, selection=AudioSelection(channel=0))[:length], left[:length])
    assert np.array_equal(samples(file, settings, selection=AudioSelection(channel=1))[:length], right[:length])


def test_channels_that_cancel_out_are_heard_one_by_one(tmp_path: Path, settings: Settings) -> None:
    file = tmp_path / "antiphase.flac"
    ffmpeg("-i", CLIP, "-af", "pan=stereo|c0=c0|c1=-1*c0", file)
    assert not samples(file, settings).any()
    assert np.array_equal(samples(file, settings, selection=AudioSelection(channel=0)), samples(CLIP, settings))


@pytest.mark.parametrize(("channel", "layout"), [(1, "mono"), (2, "stereo"), (99, "stereo")])
def test_a_channel_that_does_not_exist_is_an_error(
    channel: int, layout: str, tmp_path: Path, settings: Settings
) -> None:
    ffmpeg("-i", CLIP, "-ac", "1" if layout == "mono" else "2", tmp_path / "a.wav")
    with pytest.raises(errors.ChannelMissing, match=f"no channel {channel}: the audio track is {layout}"):
        plan_audio(str(tmp_path / "a.wav"), "job", 300.0, settings, selection=AudioSelection(channel=channel))


def test_segments_that_a_slot_decodes_itself_have_the_same_selection(tmp_path: Path, settings: Settings) -> None:
    """100 s of the second track's second channel, with a hole of 5 s: spooled, and again after the spool lost it."""
    file, looped = tmp_path / "long.mkv", ("-stream_loop", "20", "-i", CLIP, "-t", "100")
    sound = "asetnsamples=1600,asetpts=PTS+5/TB*gte(T\\,40),pan=stereo|c0=0*c0|c1=c0"
    silence = ("-f", "lavfi", "-i", "anullsrc=r=16000:cl=stereo:d=7")
    ffmpeg(*silence, *looped, "-map", "0", "-map", "1", "-filter:a:1", sound, "-c:a", "flac", file)
    selection = AudioSelection(track=1, channel=1, keep_time=True)
    plan = plan_audio(str(file), "job", 30.0, settings, selection=selection)
    assert plan.duration == pytest.approx(100, abs=0.01)
    whole = samples(file, settings, selection).astype(np.float32) / 32768.0
    assert not whole[16000 * 40 : 16000 * 45].any()
    for _ in range(2):
        pieces = [read_segment(str(file), segment, settings, selection) for segment in plan.segments]
        assert np.array_equal(np.concatenate(pieces), whole)
        Spool(settings).drop("job")
