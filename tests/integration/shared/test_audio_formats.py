"""Every usual format decodes to the samples that whisper itself would have loaded."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import SPEECH
from tests.support.plan_audio import plan_audio
from whisper_fleet.shared import binaries
from whisper_fleet.shared.audio.segments import read_segment
from whisper_fleet.shared.settings import Settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # numba and torch on import
    import whisper

pytestmark = pytest.mark.integration

CLIP = SPEECH / "sense_and_sensibility-0870.wav"
CLIP_SECONDS = 7.1

FORMATS = {
    "speech.mp3": [],
    "speech.m4a": ["-c:a", "aac"],
    "speech.aac": ["-c:a", "aac"],
    "speech.flac": [],
    "speech.ogg": ["-c:a", "libopus"],
    "vorbis.ogg": ["-c:a", "libvorbis"],
    "speech.webm": ["-c:a", "libopus"],
    "stereo.wav": ["-ar", "44100", "-ac", "2"],
    "telephone.wav": ["-ar", "8000", "-c:a", "pcm_mulaw"],
    "float.wav": ["-ar", "48000", "-c:a", "pcm_f32le"],
    "speech.aiff": [],
    "speech.mka": ["-c:a", "flac"],
    "speech.dts": ["-ar", "48000", "-c:a", "dca", "-strict", "-2"],
    "speech.rm": ["-c:a", "ac3", "-ar", "44100"],
    "speech.wtv": ["-c:a", "mp2"],
    "speech.latm": ["-c:a", "aac", "-f", "latm"],
    "speech.g722": ["-c:a", "g722"],
    "speech.thd": ["-ar", "48000", "-c:a", "truehd", "-strict", "-2"],
    "speech.mlp": ["-ar", "48000", "-c:a", "mlp", "-strict", "-2"],
    "speech.nut": ["-c:a", "flac"],
    "speech.g723_1": ["-ar", "8000", "-b:a", "6.3k", "-f", "g723_1"],
    "speech.sox": [],
    "speech.sf": ["-f", "ircam"],
    "speech.sbc": ["-ar", "16000"],
    "speech.aptx": ["-ar", "48000", "-ac", "2"],
    "speech.voc": [],
    "speech.mmf": ["-ar", "22050"],
    "speech.oga": ["-c:a", "flac"],
    "speech.mp2": [],
    "speech.wv": [],
    "speech.tta": [],
    "speech.ac3": [],
    "speech.caf": [],
    "speech.au": [],
    "speech.wma": [],
}


def encode(target: Path, *arguments: str, source: tuple[str, ...] = ()) -> Path:
    """The clip, encoded as asked for."""
    command = [str(binaries.ffmpeg()), "-y", "-v", "error", *source, "-i", str(CLIP), *arguments, str(target)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return target


def video(target: Path) -> Path:
    """The clip under a moving picture."""
    picture = ("-f", "lavfi", "-i", "testsrc=size=160x120:rate=10")
    return encode(target, "-shortest", "-c:v", "mpeg4", "-c:a", "aac", source=picture)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(spool_dir=tmp_path / "spool")


@pytest.mark.parametrize(("name", "arguments"), FORMATS.items(), ids=FORMATS)
def test_samples_are_those_of_whisper_load_audio(
    name: str, arguments: list[str], tmp_path: Path, settings: Settings
) -> None:
    check_samples(encode(tmp_path / name, *arguments), settings)


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.mov", "film.avi", "film.ts"])
def test_the_sound_of_a_video_is_used(name: str, tmp_path: Path, settings: Settings) -> None:
    check_samples(video(tmp_path / name), settings)


BROADCAST = {
    "film.mxf": ["-r", "25", "-c:v", "mpeg2video", "-ar", "48000", "-c:a", "pcm_s16le"],
    "film.gxf": ["-s", "720x576", "-r", "25", "-c:v", "mpeg2video", "-ar", "48000", "-c:a", "pcm_s16le"],
    "film.dv": ["-s", "720x576", "-r", "25", "-pix_fmt", "yuv420p", "-ar", "48000", "-ac", "2"],
    "film.nut": ["-c:v", "mpeg4", "-c:a", "aac"],
}


@pytest.mark.parametrize(("name", "arguments"), BROADCAST.items(), ids=BROADCAST)
def test_the_sound_of_a_broadcast_is_used(name: str, arguments: list[str], tmp_path: Path, settings: Settings) -> None:
    picture = ("-f", "lavfi", "-i", "testsrc=size=320x240:rate=25")
    file = encode(tmp_path / name, "-shortest", *arguments, source=picture)
    check_samples(file, settings, tolerance=0.5)  # the sound ends with a picture


def check_samples(file: Path, settings: Settings, tolerance: float = 0.15) -> None:
    plan = plan_audio(str(file), "job", 300.0, settings)
    samples = read_segment(str(file), plan.segments[0], settings)
    assert abs(plan.duration - CLIP_SECONDS) < tolerance
    assert samples.dtype == np.float32
    assert np.array_equal(samples, load_like_whisper(file))


def load_like_whisper(file: Path) -> NDArray[np.float32]:
    """`whisper.load_audio` with the ffmpeg that the fleet uses, wherever it is."""
    with pytest.MonkeyPatch.context() as patch:
        ffmpeg = str(binaries.ffmpeg())
        real = subprocess.run
        patch.setattr(whisper.audio, "run", lambda command, **kw: real([ffmpeg, *command[1:]], **kw))
        samples: NDArray[np.float32] = whisper.load_audio(str(file))
        return samples
