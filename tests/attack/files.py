"""Files, links and checkpoints that a job must not follow, or must not believe."""

from __future__ import annotations

import os
import subprocess
import threading
import wave
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from whisper_fleet.shared import binaries


def forbidden_paths(media: Path, outside: Path) -> list[str]:
    """Make what is no audio file below the media folder, and return the paths that a client could name."""
    os.mkfifo(media / "fifo.wav")
    (media / "link.wav").symlink_to(outside / "secret.wav")
    (media / "passwd.wav").symlink_to("/etc/passwd")
    (media / "zero.wav").symlink_to("/dev/zero")
    (media / "loop.wav").symlink_to("loop.wav")
    (media / "folder.wav").mkdir()
    (media / "away").symlink_to(outside)
    (media / "empty.wav").touch()
    (media / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{outside}/secret.wav\n")
    (media / "list.txt").write_text(f"ffconcat version 1.0\nfile {outside}/secret.wav\n")
    names = ("fifo", "link", "passwd", "zero", "loop", "folder", "empty", "none")
    inside = [f"{media}/{name}.wav" for name in names]
    more = [f"{media}/list.m3u8", f"{media}/list.txt", f"{media}/away/secret.wav", f"{media}/../outside/secret.wav"]
    system = [
        "/dev/zero",
        "/dev/stdin",
        "/dev/tty",
        "/proc/self/environ",
        "/proc/1/mem",
        "/etc/shadow",
        "/proc/self/fd/0",
    ]
    return [*inside, *more, *system, f"{outside}/secret.wav", f"/proc/self/cwd/{outside}/secret.wav"]


def silence(path: Path, seconds: float, rate: int = 16_000) -> Path:
    """Write silence as WAV."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(bytes(2 * round(rate * seconds)))
    return path


def bombs(media: Path) -> list[Path]:
    """Write small files that are hours of audio: one sample per second."""
    wav = silence(media / "slow.wav", 20_000, rate=1)
    made = [media / "slow.caf", media / "slow.au"]
    for file in made:
        command = [str(binaries.ffmpeg()), "-y", "-v", "error", "-i", str(wav), str(file)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return [wav, *made]


@contextmanager
def swapped(place: Path, first: Path, second: Path) -> Iterator[None]:
    """Let `place` be a link to the first folder and then to the second, in turn and as fast as possible."""
    done = threading.Event()

    def swap() -> None:
        number = 0
        while not done.is_set():
            number += 1
            link = place.with_name(f"{place.name}-{number % 2}")
            link.unlink(missing_ok=True)
            link.symlink_to((first, second)[number % 2])
            link.replace(place)
            done.wait(0.02)

    thread = threading.Thread(target=swap, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class _Command:
    """What a pickle would run."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self._marker}",)


def hostile_checkpoints(models: Path, good: Path, marker: Path) -> list[Path]:
    """Write files that claim to be checkpoints; `marker` appears if one of them runs its code."""
    stored = torch.load(good, weights_only=True)

    def save(name: str, value: Any) -> Path:
        torch.save(value, models / f"{name}.pt")
        return models / f"{name}.pt"

    def with_dims(name: str, **dims: Any) -> Path:
        return save(name, {**stored, "dims": {**stored["dims"], **dims}})

    weights = dict(stored["model_state_dict"])
    first = next(iter(weights))
    os.mkfifo(models / "fifo.pt")
    (models / "zero.pt").symlink_to("/dev/zero")
    (models / "text.pt").write_text("no zip")
    (models / "empty.pt").touch()
    (models / "cut.pt").write_bytes(good.read_bytes()[:2000])
    with zipfile.ZipFile(models / "zip.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(200_000_000))
    return [
        *(models / f"{name}.pt" for name in ("fifo", "zero", "text", "empty", "cut", "zip")),
        with_dims("layers", n_text_layer=20_000),
        with_dims("layers-100", n_text_layer=100),
        with_dims("wide", n_audio_state=4096, n_text_state=4096),
        with_dims("words", n_vocab="many"),
        with_dims("heads", n_text_head=63),
        with_dims("below-zero", n_mels=-80),
        save("no-dims", {"model_state_dict": weights}),
        save("numbers", {**stored, "model_state_dict": {**weights, first: 7}}),
        save("none", {**stored, "model_state_dict": {}}),
        save("transposed", {**stored, "model_state_dict": {**weights, first: torch.zeros(3, 3)}}),
        save("a-list", {**stored, "model_state_dict": [1, 2]}),
        save("code", {**stored, "code": _Command(marker)}),
    ]
