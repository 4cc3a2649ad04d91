"""Makes windows for `exact` from recordings of people; no two windows hold the same recording.

The recordings lie in a folder with their texts: `transcripts.tsv`, a name and a text a line. Which they are decides
how confident Whisper is, and so how often float16 decides between two tokens that are nearly alike.

    python -m benchmarks.gpu.engine.recordings --recordings prompts --out speech
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.gpu.engine.speech import LONGEST_S, RATE, SHORTEST_S, Samples, as_heard, keep, spoken_windows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, required=True, help="mono files of 16 kHz and transcripts.tsv")
    parser.add_argument("--format", choices=("opus", "flac", "wav"), default="opus")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    recordings = spoken_windows(arguments.recordings)
    random.Random(0).shuffle(recordings)  # in an order that is always the same
    keep(windows(recordings), arguments.out, arguments.format)


def windows(recordings: list[tuple[Samples, str]]) -> Iterator[tuple[Samples, str]]:
    """Yield windows of recordings with pauses between them, as many as fit; an incomplete last window is left out."""
    chance = random.Random(0)
    pieces: list[Samples] = []
    texts: list[str] = []
    for samples, text in recordings:
        if pieces and sum(map(len, pieces)) + len(samples) > LONGEST_S * RATE:
            if sum(map(len, pieces)) >= SHORTEST_S * RATE:
                yield as_heard(np.concatenate(pieces), chance.randrange(1 << 30)), " ".join(texts)
            pieces, texts = [], []
        pieces += [samples, np.zeros(chance.randrange(RATE // 8, RATE // 2), np.float32)]
        texts.append(text)


if __name__ == "__main__":
    main()
