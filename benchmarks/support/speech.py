"""Speech of any length and format: the shipped clips in a loop."""

from __future__ import annotations

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


def write_speech(path: Path, seconds: float) -> None:
    """Write the shipped clips in a loop, with half a second of silence between them; the suffix is the format."""
    wav = path.with_suffix(".wav")
    clips = [_frames(clip) for clip in sorted(_CLIPS.glob("*.wav"))]
    round_trip = b"".join(clip + bytes(_RATE) for clip in clips)
    wanted = int(seconds * _RATE) * 2
    with wave.open(str(wav), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes((round_trip * (wanted // len(round_trip) + 1))[:wanted])
    if path != wav:
        options = FORMATS[path.suffix.removeprefix(".")]
        command = [str(binaries.ffmpeg()), "-v", "error", "-y", "-i", str(wav), *options, str(path)]
        subprocess.run(command, check=True)
        wav.unlink()


def _frames(clip: Path) -> bytes:
    with wave.open(str(clip)) as file:
        frames: bytes = file.readframes(file.getnframes())
        return frames
