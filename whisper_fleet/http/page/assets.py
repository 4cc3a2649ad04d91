"""The page's files, read once, and their addresses. Called by the page's routes; knows the files of this package only.

There is no build step, so no file has a digest in its name. Instead all have one in their folder: `/page/<digest>/...`,
the digest of all files together. Modules import each other by relative addresses, so a browser that loaded one version
of the page loads all of that version, and may keep every file for a year.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

#: The folder of the addresses of all files but the first.
PREFIX = "/page"
_INDEX = "index.html"
#: What stands in index.html for the folder with the digest.
_PLACEHOLDER = b"{{assets}}"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """A file of the page as it is sent."""

    content: bytes
    media_type: str


@dataclass(frozen=True)
class Assets:
    """All files of the page; `digest` changes when any of them does."""

    index: Asset
    by_path: Mapping[str, Asset]
    digest: str


@cache
def load_assets() -> Assets:
    """Return the files of the package."""
    return assets_of(_read(files(__package__) / "static"))


def assets_of(contents: Mapping[str, bytes]) -> Assets:
    """Return the assets of these files, by their paths. Pure."""
    digest = hashlib.sha256()
    for path in sorted(contents):
        digest.update(f"{path}\n{len(contents[path])}\n".encode() + contents[path])
    version = digest.hexdigest()[:12]
    index = contents[_INDEX].replace(_PLACEHOLDER, f"{PREFIX}/{version}".encode())
    by_path = {path: Asset(content, media_type(path)) for path, content in contents.items() if path != _INDEX}
    return Assets(Asset(index, media_type(_INDEX)), by_path, version)


def media_type(path: str) -> str:
    """Return the type of a file of the page; raises KeyError for an ending that the page does not use."""
    return _TYPES[path[path.rindex(".") :]]


def _read(folder: Traversable, prefix: str = "") -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            found |= _read(entry, f"{prefix}{entry.name}/")
        elif not entry.name.startswith("."):
            found[prefix + entry.name] = entry.read_bytes()
    return found
