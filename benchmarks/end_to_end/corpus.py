"""The recordings of the end-to-end benchmark: short and long ones, each in the formats by turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.speech import write_speech


@dataclass(frozen=True)
class Recording:
    """One file and its length in seconds."""

    path: Path
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What every way to transcribe is given."""

    short: tuple[Recording, ...]
    long: tuple[Recording, ...]
    clip: Recording  # whose latency is measured


def make_corpus(
    folder: Path, formats: Sequence[str], *, short: int, between: tuple[float, float], long: Sequence[float]
) -> Corpus:
    """Write `short` recordings of lengths `between` two, evenly spread, and one of each length in `long`."""
    folder.mkdir(parents=True, exist_ok=True)
    first, last = between
    step = (last - first) / max(short - 1, 1)
    lengths = [round(first + step * at, 1) for at in range(short)]
    return Corpus(
        short=tuple(_write(folder, f"short-{at}", formats, at, length) for at, length in enumerate(lengths)),
        long=tuple(_write(folder, f"long-{at}", formats, at + 1, length) for at, length in enumerate(long)),
        clip=_write(folder, "clip", ("wav",), 0, 10.0),
    )


def seconds_of(recordings: Sequence[Recording]) -> float:
    """Return the length of all of them."""
    return sum(recording.seconds for recording in recordings)


def _write(folder: Path, name: str, formats: Sequence[str], at: int, seconds: float) -> Recording:
    path = folder / f"{name}.{formats[at % len(formats)]}"
    write_speech(path, seconds)
    return Recording(path, seconds)
