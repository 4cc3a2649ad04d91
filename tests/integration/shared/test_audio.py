"""Planning and reading real files: spool, exactness, limits, attacks, and every way a file can be bad."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.conftest import SPEECH
from tests.support.plan_audio import plan_audio
from whisper_fleet.shared import binaries, errors
from whisper_fleet.shared.audio import ffmpeg as ffmpeg_run
from whisper_fleet.shared.audio.decode import stream_pcm
from whisper_fleet.shared.audio.segments import read_segment
from whisper_fleet.shared.audio.sources import LOCAL
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.settings import Settings

pytestmark = pytest.mark.integration

CLIP = SPEECH / "sense_and_sensibility-0870.wav"


def ffmpeg(*arguments: str | Path) -> None:
    """Makes a file."""
    command = [binaries.ffmpeg(), "-y", "-v", "error", *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(spool_dir=tmp_path / "spool")


@pytest.fixture
def long_file(tmp_path: Path) -> Path:
    """100 seconds of m4a, a format in which a seek gives other samples."""
    file = tmp_path / "long.m4a"
    ffmpeg("-stream_loop", "20", "-i", CLIP, "-t", "100", "-c:a", "aac", file)
    return file


def test_a_long_file_is_spooled_and_read_back_exactly(long_file: Path, settings: Settings) -> None:
    plan = plan_audio(str(long_file), "job", 30.0, settings)
    whole = np.frombuffer(b"".join(stream_pcm(long_file, settings)), np.int16).astype(np.float32) / 32768.0
    assert len(plan.segments) >= 4
    assert all(segment.spool for segment in plan.segments)
    assert [s.start for s in plan.segments[1:]] == [s.end for s in plan.segments[:-1]]
    assert plan.duration == plan.segments[-1].end == len(whole) / 16000
    pieces = [read_segment(str(long_file), segment, settings) for segment in plan.segments]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_what_the_spool_lost_or_holds_torn_is_decoded_again_and_equal(long_file: Path, settings: Settings) -> None:
    plan = plan_audio(str(long_file), "job", 30.0, settings)
    spooled = [read_segment(str(long_file), segment, settings) for segment in plan.segments]
    folder = Spool(settings).folder("job")
    (folder / "1.s16le").unlink()
    (folder / "2.s16le").write_bytes(b"torn")
    again = [read_segment(str(long_file), segment, settings) for segment in plan.segments]
    assert all(np.array_equal(one, other) for one, other in zip(spooled, again, strict=True))


def test_a_full_spool_is_no_error(long_file: Path, tmp_path: Path) -> None:
    small = Settings(spool_dir=tmp_path / "spool", spool_limit_bytes=1_000_000)
    plan = plan_audio(str(long_file), "job", 30.0, small)
    names = [segment.spool for segment in plan.segments]
    assert names[0] is not None
    assert names[-1] is None
    assert Spool(small).used() <= 1_000_000
    assert len(read_segment(str(long_file), plan.segments[-1], small)) > 0


def test_a_spool_that_cannot_be_written_is_no_error(long_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    nowhere = Settings(spool_dir=tmp_path / "file")
    plan = plan_audio(str(long_file), "job", 30.0, nowhere)
    assert [segment.spool for segment in plan.segments] == [None] * len(plan.segments)


def test_a_job_that_ends_while_the_spool_is_measured_is_no_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(settings)
    spool.write("ending", 0, b"12")
    spool.write("staying", 0, b"1234")
    listed = spool.folders()
    spool.drop("ending")
    monkeypatch.setattr(spool, "folders", lambda: listed)
    assert spool.used() == 4
    assert spool.room() > 0


def test_a_short_file_is_not_spooled(settings: Settings) -> None:
    plan = plan_audio(str(CLIP), "job", 30.0, settings)
    assert [segment.spool for segment in plan.segments] == [None]
    assert Spool(settings).folders() == []


def test_a_dropped_job_leaves_nothing_in_the_spool(long_file: Path, settings: Settings) -> None:
    plan_audio(str(long_file), "../../job", 30.0, settings)
    spool = Spool(settings)
    assert spool.used() > 0
    assert all(folder.parent == spool.directory for folder in spool.folders())
    spool.drop("../../job")
    assert spool.folders() == []


def test_a_file_that_shrank_since_it_was_planned_is_an_error(tmp_path: Path, settings: Settings) -> None:
    file = tmp_path / "shrinks.wav"
    ffmpeg("-i", CLIP, file)
    plan = plan_audio(str(file), "job", 300.0, settings)
    ffmpeg("-i", CLIP, "-t", "2", file)
    with pytest.raises(errors.CorruptAudio, match="shorter than when the job was planned"):
        read_segment(str(file), plan.segments[0], settings)


def test_silence_is_no_error(tmp_path: Path, settings: Settings) -> None:
    file = tmp_path / "silence.flac"
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "95", file)
    plan = plan_audio(str(file), "job", 30.0, settings)
    assert plan.duration == 95.0
    assert not read_segment(str(file), plan.segments[0], settings).any()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("missing.wav", errors.FileMissing),
        ("", errors.NotAFile),
        ("empty.wav", errors.EmptyFile),
        ("text.wav", errors.CorruptAudio),
        ("random.mp3", errors.CorruptAudio),
        ("headless.m4a", errors.CorruptAudio),
        ("film.mp4", errors.NoAudioStream),
        ("blink.wav", errors.AudioTooShort),
        ("samples.wav", errors.AudioTooShort),
        ("pipe", errors.NotAFile),
        ("loop", errors.UnreadableFile),
        ("n" * 300, errors.UnreadableFile),
        ("empty.wav/below", errors.FileMissing),
    ],
)
def test_a_bad_file_is_named_in_a_typed_error(
    name: str, error: type[errors.RequestError], tmp_path: Path, settings: Settings
) -> None:
    make_bad_files(tmp_path)
    with pytest.raises(error) as raised:
        plan_audio(str(tmp_path / name), "job", 300.0, settings)
    assert str(tmp_path / name) in str(raised.value)


def make_bad_files(folder: Path) -> None:
    """One of each kind."""
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("dear fleet, this is a letter\n" * 200)
    (folder / "random.mp3").write_bytes(np.random.default_rng(1).bytes(50_000))
    ffmpeg("-i", CLIP, "-c:a", "aac", folder / "whole.m4a")
    (folder / "headless.m4a").write_bytes((folder / "whole.m4a").read_bytes()[:20_000])
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=1", "-c:v", "mpeg4", folder / "film.mp4")
    ffmpeg("-i", CLIP, "-t", "0.05", folder / "blink.wav")
    ffmpeg("-i", CLIP, "-af", "atrim=end_sample=0", folder / "samples.wav")
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder / "loop")


@pytest.mark.parametrize("name", ["-version", "a:b,c|d.wav", "naïve file %d 音.wav", "http:x.wav"])
def test_odd_names_are_only_names(name: str, tmp_path: Path, settings: Settings) -> None:
    file = tmp_path / name
    file.write_bytes(CLIP.read_bytes())
    assert abs(plan_audio(str(file), "job", 300.0, settings).duration - 7.1) < 0.01


@pytest.mark.parametrize("name", ["speech.wav", "../a.wav", "concat:/a|/b", "file:///a.wav", "ftp://h/a.wav"])
def test_only_an_absolute_path_names_a_file(name: str, settings: Settings) -> None:
    with pytest.raises(errors.BadOption, match="absolute path"):
        plan_audio(name, "job", 300.0, settings)


def test_a_torn_tail_costs_only_the_tail(tmp_path: Path, settings: Settings) -> None:
    ffmpeg("-i", CLIP, tmp_path / "whole.mp3")
    torn = tmp_path / "torn.mp3"
    torn.write_bytes((tmp_path / "whole.mp3").read_bytes()[:20_000] + b"\0garbage" * 300)
    assert 5.0 < plan_audio(str(torn), "job", 300.0, settings).duration < 7.0


@pytest.mark.parametrize(
    "playlist",
    ["#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {}\n"],
    ids=["hls", "ffconcat"],
)
@pytest.mark.parametrize("extension", ["wav", "m3u8"])
def test_a_playlist_cannot_make_the_fleet_read_another_file(
    playlist: str, extension: str, tmp_path: Path, settings: Settings
) -> None:
    secret = tmp_path / "secret.mp3"
    ffmpeg("-i", CLIP, secret)
    attack = tmp_path / f"attack.{extension}"
    attack.write_text(playlist.format(secret))
    with pytest.raises(errors.CorruptAudio):
        plan_audio(str(attack), "job", 300.0, settings)


def test_a_path_outside_the_media_roots_is_refused_even_through_a_link(tmp_path: Path) -> None:
    allowed = tmp_path / "media"
    allowed.mkdir()
    (allowed / "good.wav").write_bytes(CLIP.read_bytes())
    (allowed / "link.wav").symlink_to(CLIP)
    walled = Settings(spool_dir=tmp_path / "spool", media_roots=(allowed,))
    assert plan_audio(str(allowed / "good.wav"), "job", 300.0, walled).duration > 7
    for outside in (str(CLIP), str(allowed / "link.wav"), f"{allowed}/../x.wav", f"{allowed}-too/x.wav"):
        with pytest.raises(errors.PathNotAllowed):
            plan_audio(outside, "job", 300.0, walled)


def test_a_file_that_is_replaced_after_it_was_opened_is_not_decoded(tmp_path: Path, settings: Settings) -> None:
    allowed, secret = tmp_path / "media", tmp_path / "secret"
    for folder in (allowed, secret):
        folder.mkdir()
    (allowed / "a.mp3").write_bytes(CLIP.read_bytes())
    ffmpeg("-i", CLIP, "-t", "2", secret / "a.mp3")
    with LOCAL.opened(str(allowed / "a.mp3"), Settings(media_roots=(allowed,))) as path:
        allowed.rename(tmp_path / "before")
        allowed.symlink_to(secret)
        seconds = len(b"".join(stream_pcm(path, settings))) / 32_000
    assert seconds == pytest.approx(7.1, abs=0.01)
    with pytest.raises(errors.PathNotAllowed):
        plan_audio(str(secret / "a.mp3"), "job", 300.0, Settings(media_roots=(tmp_path / "before",)))


def children() -> set[psutil.Process]:
    """Ours; other tests' fleets may be among them."""
    return set(psutil.Process().children(recursive=True))


def test_closing_the_stream_ends_ffmpeg(long_file: Path, settings: Settings) -> None:
    before = children()
    stream = stream_pcm(long_file, settings)
    next(stream)
    assert len(children() - before) == 1
    stream.close()
    assert children() <= before


def test_an_ffmpeg_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = tmp_path / "ffmpeg"
    hanging.write_text("#!/bin/sh\nsleep 1000 &\nsleep 1000\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(ffmpeg_run, "_STALL_SECONDS", 0.3)
    before = children()
    with pytest.raises(errors.CorruptAudio, match="no progress"):
        plan_audio(str(CLIP), "job", 300.0, Settings(spool_dir=tmp_path / "spool", ffmpeg=hanging))
    assert children() <= before


def test_ffmpeg_is_limited_and_sees_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spying = tmp_path / "ffmpeg"
    spying.write_text("#!/bin/sh\n(env; ulimit -v; ulimit -t; ulimit -f) >&2\nexit 1\n")
    spying.chmod(0o755)
    monkeypatch.setenv("WHISPER_FLEET_REDIS_URL", "redis://:password@host/0")
    with CLIP.open("rb") as clip:
        child = ffmpeg_run.start(ffmpeg_run.command(CLIP, spying, []), clip.fileno())
        said = child.communicate()[1].decode()
    assert "password" not in said
    assert said.splitlines()[-3:] == ["4194304", "3600", "0"]


def test_a_missing_ffmpeg_is_reported_as_a_fault_of_the_machine(tmp_path: Path) -> None:
    with pytest.raises(errors.SetupError, match="WHISPER_FLEET_FFMPEG"):
        plan_audio(str(CLIP), "job", 300.0, Settings(spool_dir=tmp_path, ffmpeg=tmp_path / "none"))
