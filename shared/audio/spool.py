"""The spool: decoded segments of planned jobs, raw s16le 16 kHz mono, one folder per job, below a size limit."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from whisper_fleet.shared.settings import Settings

#: Begins the names of files that are being fetched; the janitor removes those of killed processes.
FETCHED = "fetched-"
#: Left free on the spool's file system, whatever the cap says.
KEEP_FREE_BYTES = 2**30


class Spool:
    """The spool of one fleet. Names in it are relative, so hosts may mount it at different places."""

    def __init__(self, settings: Settings) -> None:
        self.directory = settings.spool.absolute()
        self._settings = settings

    def room(self, used: int | None = None) -> int:
        """Return the bytes that may still be written; 0 if it is full or cannot be used. `used`: the bytes in it."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.directory).free - KEEP_FREE_BYTES
        except OSError:
            return 0
        return max(0, min(self._settings.spool_limit_bytes - (self.used() if used is None else used), free))

    @contextlib.contextmanager
    def incoming(self) -> Iterator[IO[bytes]]:
        """Provide a temporary file for what a source fetches, of at most `room()` bytes."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.directory, prefix=FETCHED) as file:
            yield file

    def used(self) -> int:
        """Return the bytes in it. Jobs may come and go during the count."""
        return sum(bytes_in(folder) for folder in self.folders())

    def folders(self) -> list[Path]:
        """Return the folders of the jobs in it."""
        return [entry for entry in _entries(self.directory) if entry.is_dir()]

    def folder(self, job: str) -> Path:
        """Return the folder of a job's segments. Clients choose ids, so one that is not a plain name is hashed."""
        plain = re.fullmatch(r"[A-Za-z0-9_-]{1,100}", job)
        return self.directory / (job if plain else hashlib.sha256(job.encode()).hexdigest())

    def write(self, job: str, index: int, pcm: bytes) -> str | None:
        """Store a segment completely or not at all; return its name in the spool, or None if the disk refuses it."""
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

    def remove(self, name: str) -> None:
        """Delete a stored segment that nothing reads any more, if it is there."""
        with contextlib.suppress(OSError):
            (self.directory / name).unlink()

    def drop(self, job: str) -> None:
        """Delete a job's audio, if there is any."""
        shutil.rmtree(self.folder(job), ignore_errors=True)


def bytes_in(folder: Path) -> int:
    """Return the bytes of a job's segments; 0 once they are deleted."""
    return sum(_size(file) for file in _entries(folder))


def _entries(folder: Path) -> list[Path]:
    """Return the entries of a folder; none once it is deleted."""
    with contextlib.suppress(OSError):
        return list(folder.iterdir())
    return []


def _size(file: Path) -> int:
    with contextlib.suppress(OSError):
        return file.stat().st_size
    return 0
