"""Speech of any length and format: the shipped clips in a loop."""

from __future__ import annotations

import math
import subprocess
import wave
from pathlib import Path

from whisper_fleet.shared import binaries

#: ffmpeg's arguments per format, with the bit rates that are usual for speech.
FORMATS: dict[str, tuple[str, ...]] = {
    "wav": (),
    "mp3": ("-c:a", "libmp3lame", "-b:a", "128k", "-ar", "44100"),
    "m4a": ("-c:a", "aac", "-b:a", "128k", "-ar", "44100"),
    "opus": ("-c:a", "libopus", "-b:a", "32k"),
}
_CLIPS = Path(__file__).parents[2] / "whisper_fleet" / "samples"
_RATE = 16_000
_PIECE_SECONDS = 300.0


def write_speech(path: Path, seconds: float) -> None:
    """Write the shipped clips in a loop, with half a second of silence between them; the suffix is the format.

    What is compressed is compressed once, at most five minutes, and repeated, so that hours take a second.
    """
    clips = [_frames(clip) for clip in sorted(_CLIPS.glob("*.wav"))]
    round_trip = b"".join(clip + bytes(_RATE) for clip in clips)
    options = FORMATS[path.suffix.removeprefix(".")]
    if not options:
        _write_wav(path, round_trip, seconds)
        return
    piece = min(seconds, _PIECE_SECONDS)
    wav, compressed = path.with_suffix(".piece.wav"), path.with_suffix(f".piece{path.suffix}")
    _write_wav(wav, round_trip, piece)
    _ffmpeg("-i", str(wav), *options, str(compressed))
    repeated = ("-stream_loop", str(math.ceil(seconds / piece) - 1), "-i", str(compressed))
    _ffmpeg(*repeated, "-c", "copy", "-t", str(seconds), str(path))
    wav.unlink()
    compressed.unlink()


def _write_wav(path: Path, round_trip: bytes, seconds: float) -> None:
    wanted = int(seconds * _RATE) * 2
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        while wanted > 0:
            file.writeframes(round_trip[:wanted])
            wanted -= len(round_trip)


def _ffmpeg(*arguments: str) -> None:
    subprocess.run([str(binaries.ffmpeg()), "-v", "error", "-y", *arguments], check=True)


def _frames(clip: Path) -> bytes:
    with wave.open(str(clip)) as file:
        frames: bytes = file.readframes(file.getnframes())
        return frames
