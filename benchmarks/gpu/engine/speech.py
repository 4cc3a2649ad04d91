"""Makes distinct speech with its text for `exact`; no two windows read the same sentence.

A voice is any command that reads the file {text} aloud into {wav}; windows take turns with the voices, and the first
ones begin with a shipped clip of a human reader. Needs ffmpeg, and the package soundfile for anything but wav.

    python -m benchmarks.gpu.engine.speech --text novel.txt --out speech --voice 'flite -voice rms -f {text} -o {wav}'
"""

from __future__ import annotations

import argparse
import random
import re
import shlex
import subprocess
import tempfile
import wave
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from whisper_fleet.shared.audio.decode import stream_pcm
from whisper_fleet.shared.settings import Settings

Samples = np.ndarray[Any, np.dtype[np.float32]]
RATE = 16000  # samples a second
SHIPPED = Path(__file__).parents[3] / "whisper_fleet" / "samples"
#: Whisper leaves the rest of a window that is full to the brim to the next one.
SHORTEST_S, LONGEST_S = 18.0, 27.0
_VOICES = [f"espeak-ng -v {name} -s {speed} -f {{text}} -w {{wav}}" for name, speed in
           (("en-us", 160), ("en-gb", 150), ("en-us+f3", 170), ("en-gb+m2", 145))]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, nargs="+", required=True, help="prose, paragraphs apart by empty lines")
    parser.add_argument("--voice", action="append", help="a command with {text} and {wav}; espeak-ng's if left out")
    parser.add_argument("--windows", type=int, default=96)
    parser.add_argument("--format", choices=("opus", "flac", "wav"), default="opus")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    texts = windows_of(arguments.text, arguments.windows)
    voices = arguments.voice or _VOICES
    with ThreadPoolExecutor(2) as pool:
        made = pool.map(lambda number: one_window(number, texts[number], voices), range(len(texts)))
        keep(made, arguments.out, arguments.format)


def keep(windows: Iterable[tuple[Samples, str]], folder: Path, kind: str) -> None:
    """Write windows and their texts into a folder, in the format of `spoken_windows`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines, samples_made = [], 0
    for number, (samples, text) in enumerate(windows):
        name = f"window-{number:03}.{kind}"
        write(folder / name, samples)
        lines.append(f"{name}\t{text}\n")
        samples_made += len(samples)
    (folder / "transcripts.tsv").write_text("".join(lines))
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{len(lines)} windows, {samples_made / RATE / 60:.1f} minutes, {size / 2**20:.1f} MiB")


def windows_of(files: list[Path], count: int) -> list[list[str]]:
    """Yield sentences for each window, more than it can hold."""
    sentences = [sentence for file in files for sentence in sentences_of(file.read_text())]
    share = len(sentences) // count
    if share < 6:
        raise SystemExit(f"{len(sentences)} sentences are too few for {count} windows")
    return [sentences[at * share : (at + 1) * share][:12] for at in range(count)]


def sentences_of(text: str) -> Iterator[str]:
    """Return complete sentences of 6 to 35 words in plain letters; headings and verse are left out."""
    for paragraph in re.split(r"\n\s*\n", text):
        flat = re.sub(r"\s+", " ", paragraph.replace("--", ", ").replace("_", "")).strip()
        for sentence in re.split(r"(?<!Mr)(?<!Mrs)(?<!Dr)(?<!St)[.!?] +", flat):
            clean = re.sub(r" +,", ",", re.sub(r'["()\[\]*]', "", sentence)).strip(" ,;:.!?")
            plain = re.fullmatch(r"[A-Z][A-Za-z,;:'. -]+", clean) is not None and not clean.isupper()
            if plain and 6 <= len(clean.split()) <= 35:
                yield clean + "."


def one_window(number: int, sentences: list[str], voices: list[str]) -> tuple[Samples, str]:
    """Return 18 to 27 seconds of speech, and its text."""
    chance = random.Random(number)
    pieces, text = shipped(number)
    for sentence in sentences:
        if sum(map(len, pieces)) > (LONGEST_S - 3) * RATE:
            break
        spoken = say(sentence, voices[number % len(voices)])
        if sum(map(len, pieces)) + len(spoken) <= LONGEST_S * RATE:
            pieces += [spoken, np.zeros(chance.randrange(RATE // 8, RATE // 2), np.float32)]
            text.append(sentence)
    samples = np.concatenate(pieces)[: int(LONGEST_S * RATE)]
    if len(samples) < SHORTEST_S * RATE:
        raise SystemExit(f"window {number} has only {len(samples) / RATE:.1f} s: give it more text")
    return as_heard(samples, number), " ".join(text)


def as_heard(samples: Samples, number: int) -> Samples:
    """Return the samples at a random loudness, with or without noise."""
    chance, noise = random.Random(number), np.random.default_rng(number)
    samples = samples * (chance.uniform(0.2, 0.9) / max(float(np.abs(samples).max()), 1e-3))
    samples += noise.normal(0, chance.choice((0.0, 0.0005, 0.002)), len(samples))
    return samples.clip(-1, 1).astype(np.float32)


def shipped(number: int) -> tuple[list[Samples], list[str]]:
    """Return the shipped recording for one of the first windows, None for the others."""
    lines = (SHIPPED / "transcripts.tsv").read_text().splitlines()
    if number >= len(lines):
        return [], []
    name, text = lines[number].split("\t")
    return [read(SHIPPED / name), np.zeros(RATE // 2, np.float32)], [text + "."]


def say(text: str, voice: str) -> Samples:
    """Return the text as a voice reads it."""
    with tempfile.TemporaryDirectory() as folder:
        script, spoken = Path(folder) / "text.txt", Path(folder) / "spoken.wav"
        script.write_text(text)
        command = [part.format(text=script, wav=spoken) for part in shlex.split(voice)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        pcm = b"".join(bytes(piece) for piece in stream_pcm(spoken, Settings()))
    return samples_of(pcm)


def write(path: Path, samples: Samples) -> None:
    """Write mono at 16 kHz, in the format of the name's extension."""
    if path.suffix == ".wav":
        with wave.open(str(path), "wb") as audio:
            audio.setparams((1, 2, RATE, 0, "NONE", ""))
            audio.writeframes((samples * 32767).astype(np.int16).tobytes())
        return
    import soundfile

    kinds = {".opus": ("OGG", "OPUS"), ".flac": ("FLAC", "PCM_16")}
    soundfile.write(path, samples, RATE, format=kinds[path.suffix][0], subtype=kinds[path.suffix][1])


def read(path: Path) -> Samples:
    """Return the samples of a mono file at 16 kHz: 16-bit wav, or any format that soundfile reads."""
    if path.suffix == ".wav":
        with wave.open(str(path)) as audio:
            return samples_of(audio.readframes(audio.getnframes()))
    import soundfile

    samples, rate = soundfile.read(path, dtype="float32")
    if rate != RATE:
        raise SystemExit(f"{path} has {rate} samples a second, not {RATE}")
    return np.asarray(samples, np.float32)


def samples_of(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, np.int16).astype(np.float32) / np.float32(32768)


def spoken_windows(folder: Path, count: int | None = None) -> list[tuple[Samples, str]]:
    """Return samples and text of the first windows, or of all, of a folder in the format of this program."""
    lines = (folder / "transcripts.tsv").read_text().splitlines()[:count]
    return [(read(folder / name), text) for name, text in (line.split("\t") for line in lines)]


if __name__ == "__main__":
    main()
