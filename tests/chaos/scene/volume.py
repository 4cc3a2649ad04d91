"""File systems of a limited size that a fault fills up."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

_BALLAST = ".ballast"
_CHUNK = bytes(1 << 20)


def is_permitted(folder: Path) -> bool:
    """Return whether this process may mount a file system."""
    volume = Volume(folder / "probe", megabytes=1)
    volume.close()
    return volume.is_limited


class Volume:
    """A directory, on a file system of its own where that is permitted."""

    def __init__(self, path: Path, megabytes: int) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(path)]
        try:
            self.is_limited = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            self.is_limited = False

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Leave no byte free while the context lasts."""
        ballast = self.path / _BALLAST
        try:
            with ballast.open("wb", buffering=0) as file:
                _fill(file)
            yield
        finally:
            ballast.unlink()

    def close(self) -> None:
        if self.is_limited:
            subprocess.run(["umount", "--lazy", str(self.path)], check=False)


def _fill(file: object) -> None:
    write = file.write  # type: ignore[attr-defined]
    for chunk in (_CHUNK, _CHUNK[:4096], b"0"):
        with contextlib.suppress(OSError):
            while write(chunk) == len(chunk):
                pass
