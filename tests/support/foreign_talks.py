"""Talks in other languages with a break of a minute, in which Whisper loses the language if it looks for it again.

tests/data/foreign holds the sentences of each, spoken by Pico's voices es-ES, de-DE and fr-FR (`pico2wave` of Debian's
libttspico-utils) with 0.6 s between them, as Opus of 16 kbit/s. Whisper base hears these voices almost without errors,
so a word that differs is a fault and not a doubtful sound.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tests.support.speech_files import RATE, word_errors, words, write_wav
from whisper_fleet.shared.audio.decode import stream_pcm
from whisper_fleet.shared.settings import Settings

Break = Literal["silence", "noise", "tone", "music"]

_HOP = RATE // 100  # samples; loudness is measured every 10 ms
_QUIET = 33  # -60 dBFS
_PAUSE = 60  # hops; the pauses within a sentence are shorter
_CLIPS = Path(__file__).parents[1] / "data" / "foreign"


@dataclass(frozen=True, kw_only=True)
class Talk:
    """A file in which somebody speaks, nobody speaks, and somebody speaks again; moments are seconds."""

    file: Path
    break_start: float
    break_end: float
    said_after: list[str]  # words


def talk(path: Path, language: str, *, before: float, after: int, kind: Break) -> Talk:
    """Write a talk: so many seconds of speech at most, a break of a minute, and so many sentences."""
    sentences = _sentences(language)
    opening = b"".join(_as_many_as_fit(sentences, before))
    closing = b"".join(itertools.islice(itertools.cycle(sentences), after))
    write_wav(path, opening + break_of(kind, 60) + closing)
    said = (_CLIPS / f"{language}.txt").read_text().splitlines()
    start = len(opening) / 2 / RATE
    text = " ".join(itertools.islice(itertools.cycle(said), after))
    return Talk(file=path, break_start=start, break_end=start + 60, said_after=words(text))


def heard_after(segments: Iterable[Mapping[str, Any]], of: Talk) -> list[str]:
    """Return the words of a transcript from where it comes nearest to what was said after the break.

    Whisper invents words in a break, and may place what follows the break in it, so times cannot decide.
    """
    # No sentence begins in the last seconds before the break.
    heard = words("".join(one["text"] for one in segments if one["start"] >= of.break_start - 0.5))
    starts = [index for index, word in enumerate(heard) if index == 0 or word in of.said_after[:20]]
    return heard[min(starts, key=lambda start: (word_errors(heard[start:], of.said_after), -start)) :] if heard else []


def _sentences(language: str) -> list[bytes]:
    """Return the PCM of each sentence with the pause after it."""
    spoken = b"".join(stream_pcm(_CLIPS / f"{language}.ogg", Settings()))
    samples = np.frombuffer(spoken, np.int16).astype(np.float64)
    hops = len(samples) // _HOP
    quiet = np.sqrt((samples[: hops * _HOP].reshape(hops, _HOP) ** 2).mean(axis=1)) < _QUIET
    edges = np.flatnonzero(np.diff(np.concatenate(([False], quiet, [False]))))
    pauses = [(start + end) // 2 for start, end in zip(edges[::2], edges[1::2], strict=True) if end - start >= _PAUSE]
    cuts = [0, *(int(pause) * _HOP * 2 for pause in pauses[:-1]), len(spoken)]
    return [spoken[start:end] for start, end in itertools.pairwise(cuts)]


def _as_many_as_fit(sentences: Sequence[bytes], seconds: float) -> Iterator[bytes]:
    room = seconds * RATE * 2
    for sentence in itertools.cycle(sentences):
        room -= len(sentence)
        if room < 0:
            return
        yield sentence


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
