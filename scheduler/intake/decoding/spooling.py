"""Writes the segments of one job to the spool while there is room; a slot decodes what is not there from the file."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

from whisper_fleet.scheduler.intake.decoding.pressure import Pressure
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.settings import Settings

#: Seconds for which a measurement of the spool counts: measuring reads every folder in it.
_MEASURED_FOR = 5.0


class _Measured:
    """A spool as this process last measured it, with what it has written since."""

    def __init__(self) -> None:
        self._room = self._used = 0
        self._measured_at: float | None = None

    def read(self, spool: Spool) -> tuple[int, int]:
        """Return the bytes that may be written, and those in it."""
        now = time.monotonic()
        if self._measured_at is None or now - self._measured_at > _MEASURED_FOR:
            self._used = spool.used()
            self._room, self._measured_at = spool.room(self._used), now
        return self._room, self._used

    def add(self, size: int) -> None:
        self._room -= size
        self._used += size


@lru_cache(maxsize=8)
def _measured(directory: Path, limit_bytes: int) -> _Measured:
    """Return the measurement that all jobs of this process share."""
    return _Measured()


def pressure(size: int, slots: int, settings: Settings) -> Pressure:
    """Return what waits for this many slots, in segments of this many bytes."""
    spool = Spool(settings)
    room, used = _measured(spool.directory, settings.spool_limit_bytes).read(spool)
    return Pressure(slots=slots, spooled=used / size, has_room=size <= room)


class SpoolWriter:
    """Writes to the spool for one job, in one process."""

    def __init__(self, job: str, settings: Settings) -> None:
        self._job = job
        self._spool = Spool(settings)
        self._reserved = settings.spool_limit_bytes // 2
        self._measured = _measured(self._spool.directory, settings.spool_limit_bytes)

    def write(self, index: int, pcm: bytes, *, is_decoding_on: bool = True) -> str | None:
        """Store a segment and return its name; None if there is no room, or the disk refuses it.

        Half of the spool is for files that are being decoded on. So the first segments of thousands of files that
        wait for a decoder do not take it, of which each can be decoded quickly from the beginning of its file.
        """
        needed = len(pcm) + (0 if is_decoding_on else self._reserved)
        name = self._spool.write(self._job, index, pcm) if self.has_room(needed) else None
        if name:
            self._measured.add(len(pcm))
        return name

    def has_room(self, size: int) -> bool:
        """Return whether this many bytes fit in."""
        return size <= self._measured.read(self._spool)[0]
