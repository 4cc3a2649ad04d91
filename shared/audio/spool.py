"""The spool: decoded segments of planned jobs, raw s16le 16 kHz mono, one folder a job, below a cap."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import uuid
from pathlib import Path

from whisper_fleet.shared.settings import Settings

#: Left free on the spool's file system, whatever the cap says.
KEEP_FREE_BYTES = 2**30


class Spool:
    """The spool of one fleet; names in it are relative, so that hosts may mount it at different places."""

    def __init__(self, settings: Settings) -> None:
        self.directory = settings.spool.absolute()
        self._limit_bytes = settings.spool_limit_bytes

    def room(self) -> int:
        """Bytes that may still be written; 0 when it is full or cannot be used."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.directory).free - KEEP_FREE_BYTES
        except OSError:
            return 0
        return max(0, min(self._limit_bytes - self.used(), free))

    def used(self) -> int:
        """Bytes that lie in it; jobs come and go meanwhile."""
        return sum(bytes_in(folder) for folder in self.folders())

    def folders(self) -> list[Path]:
        """The folders of the jobs in it."""
        return [entry for entry in _entries(self.directory) if entry.is_dir()]

    def folder(self, job: str) -> Path:
        """Where a job's segments lie; an id comes from a client, so one that is no plain name is hashed."""
        plain = re.fullmatch(r"[A-Za-z0-9_-]{1,100}", job)
        return self.directory / (job if plain else hashlib.sha256(job.encode()).hexdigest())

    def write(self, job: str, index: int, pcm: bytes) -> str | None:
        """Stores a segment whole or not at all; its name in the spool, or None if the disk refuses it."""
        folder = self.folder(job)
        unfinished = folder / f".{index}.{uuid.uuid4().hex}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(pcm)
            unfinished.rename(folder / f"{index}.s16le")
        except OSError:
            unfinished.unlink(missing_ok=True)
            return None
        return f"{folder.name}/{index}.s16le"

    def read(self, name: str, expected_bytes: int) -> bytes | None:
        """A stored segment; None when it is gone or not of the expected length."""
        try:
            pcm = (self.directory / name).read_bytes()
        except OSError:
            return None
        return pcm if len(pcm) == expected_bytes else None

    def drop(self, job: str) -> None:
        """Forgets a job's audio; nothing happens when there is none."""
        shutil.rmtree(self.folder(job), ignore_errors=True)


def bytes_in(folder: Path) -> int:
    """Bytes of a job's segments; 0 once they are gone."""
    return sum(_size(file) for file in _entries(folder))


def _entries(folder: Path) -> list[Path]:
    """What is in a folder; nothing once it is gone."""
    with contextlib.suppress(OSError):
        return list(folder.iterdir())
    return []


def _size(file: Path) -> int:
    with contextlib.suppress(OSError):
        return file.stat().st_size
    return 0
