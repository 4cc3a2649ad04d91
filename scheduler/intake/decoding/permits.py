"""Limits how many long files a host decodes at a time.

Intake has some processes more than that, so one is soon free for a short or an urgent file, whatever is being decoded.
A permit is a lock on a file, which the kernel releases however its process ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from whisper_fleet.shared.host import read_host
from whisper_fleet.shared.settings import Settings

_log = logging.getLogger(__name__)


def decoder_count(settings: Settings) -> int:
    """Return how many long files this host decodes at a time."""
    return settings.decoders or read_host().cores


def spare_processes(decoders: int) -> int:
    """Return how many processes intake has beside those that decode long files."""
    return max(3, decoders // 4)


class Permit:
    """The right to decode a file beyond its first segment; it is held until the context ends."""

    def __init__(self, settings: Settings) -> None:
        self._directory = _directory(settings)
        self._count = decoder_count(settings)
        self._held: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held is not None:
            os.close(self._held)

    def acquire(self) -> bool:
        """Take a permit, if this process has none and one is free; return whether it has one."""
        if self._held is None:
            self._held = next(_free(self._directory, self._count), None)
        return self._held is not None


def free_permits(settings: Settings) -> int:
    """Return how many permits are free now."""
    count = 0
    for descriptor in _free(_directory(settings), decoder_count(settings)):
        os.close(descriptor)
        count += 1
    return count


def _directory(settings: Settings) -> Path:
    return settings.var_dir.absolute() / "run"


def _free(directory: Path, count: int) -> Iterator[int]:
    """Yield a descriptor for each permit that is free; it holds the permit while it is open."""
    with contextlib.suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        try:
            descriptor = os.open(directory / f"decoder-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:  # a limit is not worth a job
            _log.warning("the number of decoders is not limited: %s", error)
            yield os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
        else:
            yield descriptor
