"""Local files: below the media roots, regular, readable, not empty."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from whisper_fleet.shared.errors import (
    BadOption,
    EmptyFile,
    FileMissing,
    NotAFile,
    PathNotAllowed,
    UnreadableFile,
)
from whisper_fleet.shared.settings import Settings


class LocalSource:
    """Files of the machines of the fleet, by their absolute paths."""

    may_expire = False

    def check(self, address: str, settings: Settings) -> None:
        """Raise the RequestError of a path that may not be read, or that is not a readable file."""
        check_file(address, settings)

    @contextlib.contextmanager
    def opened(self, address: str, settings: Settings) -> Iterator[Path]:
        """Provide the path with every link followed."""
        yield check_file(address, settings)


def check_file(file_path: str, settings: Settings) -> Path:
    """Return the path, with every link followed, of a file that may be decoded; raises a RequestError."""
    path = real_path_below(file_path, settings.media_roots, option="file_path")
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise FileMissing(path=file_path, host=settings.host) from None
    except OSError:
        raise UnreadableFile(path=file_path) from None
    if not stat.S_ISREG(status.st_mode):
        raise NotAFile(path=file_path)
    if status.st_size == 0:
        raise EmptyFile(path=file_path)
    if not os.access(path, os.R_OK):
        raise UnreadableFile(path=file_path)
    return path


def real_path_below(given: str, roots: tuple[Path, ...], *, option: str) -> Path:
    """Return the path with every link followed; PathNotAllowed if it leads outside `roots` (none: anywhere)."""
    if not given.startswith("/") or "\0" in given:
        raise BadOption(name=option, reason=f"{given!r} is no absolute path on the fleet's machines")
    try:
        path = Path(given).resolve()
    except (OSError, RuntimeError):  # a loop of links, or no permission on the way
        raise UnreadableFile(path=given) from None
    if roots and not any(path.is_relative_to(root.resolve()) for root in roots):
        raise PathNotAllowed(path=given, roots=", ".join(map(str, roots)))
    return path
