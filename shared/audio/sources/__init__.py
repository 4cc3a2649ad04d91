"""Where the audio of a job comes from, by the scheme of its URL. A new source is one module, and one line in SOURCES.

An installed package can bring one, too: an entry point of the group `whisper_fleet.sources`, named as the scheme.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from whisper_fleet.shared.audio.sources.buckets import BucketSource
from whisper_fleet.shared.audio.sources.http import HttpSource
from whisper_fleet.shared.audio.sources.local import LocalSource
from whisper_fleet.shared.audio.sources.uploads import UploadSource
from whisper_fleet.shared.files.buckets import PACKAGES
from whisper_fleet.shared.http.uploads import SCHEME as UPLOAD
from whisper_fleet.shared.plugins import extensions
from whisper_fleet.shared.settings import Settings

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_GROUP = "whisper_fleet.sources"


class Source(Protocol):
    """One kind of place that a `file_path` can name."""

    @property
    def may_expire(self) -> bool:
        """Whether a file that can be read now may be unreadable when a slot needs it."""

    def check(self, address: str, settings: Settings) -> None:
        """Raise the RequestError of a file that this fleet may not or cannot read, as far as a look shows."""

    def opened(self, address: str, settings: Settings) -> AbstractContextManager[Path]:
        """Check as above, and provide the path of a local file to decode while the context lasts."""


LOCAL = LocalSource()
#: By the URL's scheme, in lower case.
SOURCES: dict[str, Source] = {
    "http": HttpSource(),
    "https": HttpSource(),
    UPLOAD: UploadSource(),
}
#: An extension for one of these schemes takes precedence: there were such before buckets were built in.
_BUCKETS: dict[str, Source] = dict.fromkeys(PACKAGES, BucketSource())


def is_url(address: str) -> bool:
    """Return whether a `file_path` is a URL, of any scheme, rather than the path of a file."""
    return _SCHEME.match(address) is not None


def source_of(address: str) -> Source:
    """Return the source of a `file_path`. A URL that has none is refused as a path by the local source."""
    match = _SCHEME.match(address)
    if match is None:
        return LOCAL
    scheme = match[1].lower()
    source: Source = SOURCES.get(scheme) or extensions(_GROUP).get(scheme) or _BUCKETS.get(scheme, LOCAL)
    return source


@contextlib.contextmanager
def opened(address: str, settings: Settings) -> Iterator[Path]:
    """Provide the path of a local file with what a `file_path` names; raises a RequestError."""
    with source_of(address).opened(address, settings) as path:
        yield path
