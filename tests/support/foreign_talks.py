"""Talks in other languages with a break of a minute, in which Whisper loses the language if it looks for it again.

tests/data/foreign holds five sentences of each, spoken by espeak-ng (voices es, de and fr, 150 words per minute).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tests.support.speech_files import RATE, write_wav
from whisper_fleet.shared.audio.decode import stream_pcm
from whisper_fleet.shared.settings import Settings

Break = Literal["silence", "noise", "tone", "music"]

_CLIPS = Path(__file__).parents[1] / "data" / "foreign"


def talk(path: Path, language: str, *, before: int, after: int, kind: Break) -> tuple[Path, float]:
    """Write a talk with a break; `before` and `after` count the five sentences. Return it and the end of the break."""
    pcm = b"".join(stream_pcm(_CLIPS / f"{language}.ogg", Settings()))
    gap = break_of(kind, 60)
    write_wav(path, pcm * before + gap + pcm * after)
    return path, (len(pcm) * before + len(gap)) / 2 / RATE


def samples_of(path: Path) -> NDArray[np.float32]:
    """Return the samples of a talk as whisper takes them."""
    return (np.frombuffer(b"".join(stream_pcm(path, Settings())), np.int16) / 32768).astype(np.float32)


def break_of(kind: Break, seconds: int) -> bytes:
    """Return PCM in which nobody speaks, s16le."""
    return (np.clip(_break(kind, seconds * RATE), -1, 1) * 32767).astype(np.int16).tobytes()


def _break(kind: Break, count: int) -> NDArray[np.float64]:
    times = np.arange(count) / RATE
    match kind:
        case "silence":
            return np.zeros(count)
        case "tone":  # of a telephone that rings
            return (np.sin(2 * np.pi * 440 * times) + np.sin(2 * np.pi * 480 * times)) * 0.05 * (times % 6 < 2)
        case "music":  # a chord, twice a second
            chord = np.sin(2 * np.pi * np.outer((262, 330, 392), times)).sum(axis=0)
            return np.asarray(chord * 0.05 * (times % 0.5 < 0.4))
        case "noise":  # pink, -45 dBFS
            spectrum = np.fft.rfft(np.random.default_rng(7).standard_normal(count))
            pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), count)
            return np.asarray(pink / np.sqrt(np.mean(pink**2)) * 10 ** (-45 / 20))
