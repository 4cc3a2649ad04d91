"""Local files: below the media roots, regular, readable, not empty; opened once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from whisper_fleet.shared.errors import (
    BadOption,
    EmptyFile,
    FileMissing,
    FileTooLarge,
    NotAFile,
    PathNotAllowed,
    RequestError,
    UnreadableFile,
)
from whisper_fleet.shared.files.opening import NotRegularFile, OutsideRoots, open_regular_file, path_of
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.units import readable_bytes


class LocalSource:
    """Files of the machines of the fleet, by their absolute paths."""

    may_expire = False

    def check(self, address: str, settings: Settings) -> None:
        """Raise the RequestError of a path that may not be read, or that is not a readable file."""
        with _opened(address, settings):
            pass

    @contextlib.contextmanager
    def opened(self, address: str, settings: Settings) -> Iterator[Path]:
        """Provide a path of the file that was checked, even if another one has taken its place."""
        with (
            _opened(address, settings) as descriptor,
            path_of(descriptor, Path(address).suffix, owner=os.getpid()) as path,
        ):
            yield path


@contextlib.contextmanager
def _opened(file_path: str, settings: Settings) -> Iterator[int]:
    check_absolute(file_path, option="file_path")
    try:
        descriptor = open_regular_file(file_path, settings.media_roots)
    except OSError as error:
        raise _request_error(file_path, error, settings) from None
    try:
        size = os.fstat(descriptor).st_size
        if size == 0:
            raise EmptyFile(path=file_path)
        if size > settings.max_file_bytes:
            raise FileTooLarge(path=file_path, limit=readable_bytes(settings.max_file_bytes))
        yield descriptor
    finally:
        os.close(descriptor)


def _request_error(file_path: str, error: OSError, settings: Settings) -> RequestError:
    """Return the error for a client; outside the media roots it is the same whether something exists or not."""
    match error:
        case OutsideRoots():
            return path_not_allowed(file_path, settings.media_roots)
        case NotRegularFile():
            return NotAFile(path=file_path)
        case FileNotFoundError() | NotADirectoryError():
            return FileMissing(path=file_path, host=settings.host)
    return UnreadableFile(path=file_path)


def check_absolute(given: str, *, option: str) -> None:
    """Raise BadOption unless it is an absolute path."""
    if not given.startswith("/") or "\0" in given:
        raise BadOption(name=option, reason=f"{given!r} is no absolute path on the fleet's machines")


def path_not_allowed(given: str, roots: tuple[Path, ...]) -> PathNotAllowed:
    """Return the error for a path outside the media roots."""
    return PathNotAllowed(path=given, roots=", ".join(map(str, roots)))
