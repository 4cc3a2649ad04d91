"""What a load transcribes: files of noise, each with its own, and of which each gives ten segments."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

#: The least that a request may name, in seconds: see shared/fields.py.
LONGEST_SEGMENT = 30
#: What the cutter makes of noise then, in seconds.
SEGMENT_SECONDS = 20
_RATE = 8000


def noise_files(folder: Path, count: int, seconds: int) -> list[Path]:
    """Write `count` different files of noise and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_noise(folder / f"noise{number}.wav", number, seconds) for number in range(count)]


def _noise(path: Path, number: int, seconds: int) -> Path:
    samples = np.random.default_rng(number).integers(-3000, 3000, _RATE * seconds, dtype=np.int16)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, _RATE, 0, "NONE", "NONE"))
        file.writeframes(samples.tobytes())
    return path
