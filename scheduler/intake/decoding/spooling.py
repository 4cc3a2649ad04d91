"""Writes the segments of one job to the spool while there is room; a slot decodes what is not there from the file."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.settings import Settings

#: Seconds for which a measurement of the spool counts: measuring reads every folder in it.
_MEASURED_FOR = 5.0


class _Room:
    """The room in a spool, as this process last measured it, less what it has written since."""

    def __init__(self) -> None:
        self._bytes = 0
        self._measured_at: float | None = None

    def in_bytes(self, spool: Spool) -> int:
        now = time.monotonic()
        if self._measured_at is None or now - self._measured_at > _MEASURED_FOR:
            self._bytes, self._measured_at = spool.room(), now
        return self._bytes

    def take(self, size: int) -> None:
        self._bytes -= size


@lru_cache(maxsize=8)
def _room_in(directory: Path, limit_bytes: int) -> _Room:
    """Return the room that all jobs of this process share."""
    return _Room()


class SpoolWriter:
    """Writes to the spool for one job, in one process."""

    def __init__(self, job: str, settings: Settings) -> None:
        self._job = job
        self._spool = Spool(settings)
        self._reserved = settings.spool_limit_bytes // 2
        self._room = _room_in(self._spool.directory, settings.spool_limit_bytes)

    def write(self, index: int, pcm: bytes, *, is_decoding_on: bool = True) -> str | None:
        """Store a segment and return its name; None if there is no room, or the disk refuses it.

        Half of the spool is for files that are being decoded on. So the first segments of thousands of files that
        wait for a decoder do not take it, of which each can be decoded quickly from the beginning of its file.
        """
        needed = len(pcm) + (0 if is_decoding_on else self._reserved)
        name = self._spool.write(self._job, index, pcm) if self.has_room(needed) else None
        if name:
            self._room.take(len(pcm))
        return name

    def has_room(self, size: int) -> bool:
        """Return whether this many bytes fit in."""
        return size <= self._room.in_bytes(self._spool)
