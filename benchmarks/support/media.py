"""Recordings of any length and format, made from the shipped clips of speech."""

from __future__ import annotations

import subprocess
from pathlib import Path

from whisper_fleet.shared import binaries

_SAMPLES = Path(__file__).parents[2] / "whisper_fleet" / "samples"
#: By extension, ffmpeg's options: what people have.
FORMATS = {
    "wav": ["-ac", "1", "-ar", "16000"],
    "mp3": ["-b:a", "128k"],
    "m4a": ["-c:a", "aac", "-b:a", "96k"],
    "opus": ["-c:a", "libopus", "-b:a", "32k", "-ac", "1", "-ar", "48000"],
    "flac": [],
}
_BLOCK_SECONDS = 600  # encoded once, and repeated


def media(folder: Path, form: str, hours: float) -> Path:
    """Return a file of this format and length in a folder, and make it if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{hours:.4g}h.{form}"
    if not file.exists():
        block = folder / f"block.{form}"
        if not block.exists():
            stereo = ["-ac", "2", "-ar", "44100", *FORMATS[form]]
            _ffmpeg(
                ["-stream_loop", "-1", "-f", "concat", "-safe", "0", "-i", _list(folder)], stereo, _BLOCK_SECONDS, block
            )
        _ffmpeg(["-stream_loop", "-1", "-i", block], ["-c", "copy"], hours * 3600, file)
    return file


def _list(folder: Path) -> Path:
    names = folder / "clips.txt"
    names.write_text("".join(f"file '{clip}'\n" for clip in sorted(_SAMPLES.glob("*.wav"))))
    return names


def _ffmpeg(source: list[str | Path], options: list[str], seconds: float, file: Path) -> None:
    command = [binaries.ffmpeg(), "-nostdin", "-y", "-v", "error", *source, "-t", str(seconds), *options, file]
    subprocess.run(command, check=True)
