"""Make long and unusual audio from the real clips, and compare transcripts."""

from __future__ import annotations

import subprocess
import warnings
import wave
from collections.abc import Sequence
from pathlib import Path

from whisper.normalizers import EnglishTextNormalizer

from whisper_fleet.shared import binaries

RATE = 16_000
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)  # whisper leaves its list of spellings open
    _normalize = EnglishTextNormalizer()


def words(text: str) -> list[str]:
    """Return the words of a text as whisper's normaliser leaves them, with hyphens as spaces."""
    normalized: str = _normalize(text.replace("-", " "))
    return normalized.split()


def word_errors(heard: Sequence[str], said: Sequence[str]) -> int:
    """Count the substitutions, insertions and deletions between two texts."""
    row = list(range(len(said) + 1))
    for number, word in enumerate(heard, 1):
        before, row[0] = row[0], number
        for column, reference in enumerate(said, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (word != reference))
    return row[-1]


def samples(path: Path) -> bytes:
    """Return the PCM of a clip, s16le."""
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        frames: bytes = file.readframes(file.getnframes())
        return frames


def write_wav(path: Path, pcm: bytes) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(pcm)
    return path


def pause(seconds: float) -> bytes:
    return bytes(2 * round(RATE * seconds))


def convert(source: Path, target: Path, *options: str) -> Path:
    """Convert a file to another format with ffmpeg, and return the target."""
    command = [str(binaries.ffmpeg()), "-v", "error", "-y", "-i", str(source), *options, str(target)]
    subprocess.run(command, check=True)
    return target
