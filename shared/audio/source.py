"""Whether the fleet may and can read what a job names: below the media roots, a file, readable, not empty."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from whisper_fleet.shared.errors import (
    BadOption,
    EmptyFile,
    FileMissing,
    NotAFile,
    PathNotAllowed,
    UnreadableFile,
    UrlNotAllowed,
)
from whisper_fleet.shared.settings import Settings


def is_url(file_path: str) -> bool:
    """Whether a job names something to fetch rather than a file."""
    return file_path.lower().startswith(("http://", "https://"))


def check_file(file_path: str, settings: Settings) -> Path:
    """The real path (no links) of a file that may be decoded; else a RequestError that says what is wrong."""
    path = real_path_below(file_path, settings.media_roots, option="file_path")
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise FileMissing(path=file_path, host=settings.host) from None
    except OSError:
        raise UnreadableFile(path=file_path) from None
    if not stat.S_ISREG(found.st_mode):
        raise NotAFile(path=file_path)
    if found.st_size == 0:
        raise EmptyFile(path=file_path)
    if not os.access(path, os.R_OK):
        raise UnreadableFile(path=file_path)
    return path


def real_path_below(given: str, roots: tuple[Path, ...], *, option: str) -> Path:
    """The path with every link followed; PathNotAllowed when it leads outside `roots` (none: anywhere)."""
    if not given.startswith("/") or "\0" in given:
        raise BadOption(name=option, reason=f"{given!r} is no absolute path on the fleet's machines")
    try:
        path = Path(given).resolve()
    except (OSError, RuntimeError):  # a loop of links, or no permission on the way
        raise UnreadableFile(path=given) from None
    if roots and not any(path.is_relative_to(root.resolve()) for root in roots):
        raise PathNotAllowed(path=given, roots=", ".join(map(str, roots)))
    return path


def check_url(url: str, settings: Settings) -> None:
    """UrlNotAllowed unless one of the prefixes covers it."""
    if not is_below(url, settings.url_prefixes):
        raise UrlNotAllowed(url=url)


def is_below(url: str, prefixes: Iterable[str]) -> bool:
    """Whether one of the prefixes covers it: same scheme and host, and at or below its path."""
    try:
        asked = urlsplit(url)
    except ValueError:  # brackets that hold no address
        return False
    if ".." in unquote(asked.path).split("/"):  # servers read %2e%2e as well
        return False
    for prefix in map(urlsplit, prefixes):
        same_place = (asked.scheme, asked.netloc) == (prefix.scheme, prefix.netloc)
        below = asked.path.startswith(prefix.path.rstrip("/") + "/") or asked.path == prefix.path
        if same_place and below:
            return True
    return False
