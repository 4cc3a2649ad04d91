"""Small files of many formats, and mutations of them, as a damaged disk or a person who knows the format makes them."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from whisper_fleet.shared import binaries

#: Extension -> ffmpeg's arguments for the sound. Video formats also get a picture.
FORMATS: dict[str, list[str]] = {
    "wav": [],
    "mp3": [],
    "m4a": ["-c:a", "aac"],
    "flac": [],
    "ogg": ["-c:a", "libopus"],
    "webm": ["-c:a", "libopus"],
    "mka": ["-c:a", "libvorbis"],
    "aac": [],
    "aiff": [],
    "caf": [],
    "wma": [],
    "avi": ["-c:a", "mp2"],
    "ts": ["-c:a", "aac"],
    "mp4": ["-c:a", "aac"],
    "mov": ["-c:a", "pcm_s16le"],
    "wtv": ["-c:a", "mp2"],
    "nut": ["-c:a", "flac"],
    "ac3": [],
    "tta": [],
    "au": [],
}
_WITH_PICTURE = {"avi", "ts", "mp4", "mov"}
_SECONDS = "2"
_SIZES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def small_files(clip: Path, folder: Path) -> list[Path]:
    """Write two seconds of a clip in every format, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = ["-f", "lavfi", "-i", f"testsrc=size=64x64:rate=5:duration={_SECONDS}"]
    files = []
    for extension, arguments in FORMATS.items():
        file = folder / f"small.{extension}"
        source = [*(picture if extension in _WITH_PICTURE else []), "-i", str(clip), "-t", _SECONDS]
        command = [str(binaries.ffmpeg()), "-y", "-v", "error", *source, *arguments, str(file)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        files.append(file)
    return files


class Mutations:
    """Makes damaged files from a seed: the same seed gives the same files."""

    def __init__(self, seed: int, originals: list[Path], folder: Path) -> None:
        self._random = random.Random(seed)
        self._originals = originals
        self._folder = folder

    def make(self, number: int) -> Path:
        """Write one damaged file and return it."""
        original = self._originals[number % len(self._originals)]
        data = bytearray(original.read_bytes())
        ways: tuple[Callable[[bytearray], None], ...] = (
            self._flip_bits, self._replace_bytes, self._truncate, self._cut_out, self._repeat, self._zero,
            self._exaggerate, self._shuffle, self._splice, self._hide,
        )  # fmt: skip
        for _ in range(self._random.randint(1, 3)):
            self._random.choice(ways)(data)
        file = self._folder / f"mutated-{number}{original.suffix}"
        file.write_bytes(data)
        return file

    def _place(self, data: bytearray) -> int:
        """Return a position; every second one is in the header, where most of a format's decisions are."""
        end = len(data) if self._random.random() < 0.5 else min(len(data), 512)
        return self._random.randrange(max(end, 1))

    def _flip_bits(self, data: bytearray) -> None:
        for _ in range(self._random.randint(1, 40)):
            if data:
                data[self._place(data) % len(data)] ^= 1 << self._random.randrange(8)

    def _replace_bytes(self, data: bytearray) -> None:
        place, length = self._place(data), self._random.randint(1, 64)
        data[place : place + length] = self._random.randbytes(length)

    def _truncate(self, data: bytearray) -> None:
        del data[self._place(data) :]

    def _cut_out(self, data: bytearray) -> None:
        place = self._place(data)
        del data[place : place + self._random.randint(1, 2000)]

    def _repeat(self, data: bytearray) -> None:
        place = self._place(data)
        data[place:place] = data[place : place + 200] * self._random.randint(1, 50)

    def _zero(self, data: bytearray) -> None:
        place = self._place(data)
        end = min(place + self._random.randint(1, 500), len(data))
        data[place:end] = bytes(end - place)

    def _exaggerate(self, data: bytearray) -> None:
        """Replace a number of four bytes, most likely a size, a count or a rate."""
        place = self._place(data) & ~3
        if place + 4 <= len(data):
            order = self._random.choice("<>")
            data[place : place + 4] = struct.pack(f"{order}I", self._random.choice(_SIZES))

    def _shuffle(self, data: bytearray) -> None:
        blocks = [data[start : start + 256] for start in range(0, len(data), 256)]
        first = blocks[:1]
        rest = blocks[1:]
        self._random.shuffle(rest)
        data[:] = b"".join([*first, *rest])

    def _splice(self, data: bytearray) -> None:
        """Continue with the middle of a file of another format."""
        other = self._random.choice(self._originals).read_bytes()
        del data[self._place(data) :]
        data += other[len(other) // 2 :]

    def _hide(self, data: bytearray) -> None:
        """Begin with what another format, or a playlist, begins with."""
        begins = (
            b"#EXTM3U\n/etc/passwd\n",
            b"ffconcat version 1.0\nfile /etc/passwd\n",
            b"RIFF",
            b"ID3",
            b"\x1aE\xdf\xa3",
        )
        data[:0] = self._random.choice(begins)
