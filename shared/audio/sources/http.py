"""Files on web servers: an allowed URL is fetched into the spool while it is needed, and ffmpeg stays offline."""

from __future__ import annotations

import contextlib
import string
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from whisper_fleet.shared.audio.sources.deadline import opened_within
from whisper_fleet.shared.audio.sources.prefixes import check_url
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.errors import FileTooLarge, UrlUnavailable
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.units import readable_bytes

_PATIENCE_SECONDS = 20.0  # until the rate counts
_SLOWEST = 16 * 2**10  # bytes per second, on average
_CHUNK_BYTES = 2**20


class HttpSource:
    """http and https URLs that a prefix of the settings covers; they may expire."""

    may_expire = True

    def check(self, address: str, settings: Settings) -> None:
        """Raise UrlNotAllowed unless a prefix covers the URL. Nothing is fetched."""
        check_url(address, settings)

    @contextlib.contextmanager
    def opened(self, address: str, settings: Settings) -> Iterator[Path]:
        """Provide the path of a temporary copy; raises UrlNotAllowed or UrlUnavailable."""
        self.check(address, settings)
        with fetched(address, settings, lambda target: self.check(target, settings)) as path:
            yield path


@contextlib.contextmanager
def fetched(url: str, settings: Settings, check: Callable[[str], None]) -> Iterator[Path]:
    """Provide the path of a temporary copy of a URL; `check` raises for a redirect that may not be followed.

    Raises UrlUnavailable, or FileTooLarge.
    """
    spool = Spool(settings)
    with spool.incoming() as file:
        try:
            _copy(url, file, spool.room(), settings, _CheckedRedirects(check))
        except (OSError, HTTPException, ValueError) as error:
            raise UrlUnavailable(url=url, reason=str(error) or type(error).__name__) from None
        file.flush()
        yield Path(file.name)


def _copy(url: str, file: IO[bytes], room: int, settings: Settings, redirects: _CheckedRedirects) -> None:
    """Fetch a URL into a file of at most `room` bytes."""
    encoded = quote(url, safe=string.punctuation)  # spaces and umlauts, as a browser does
    received, started = 0, time.monotonic()
    with opened_within(settings.download_timeout, encoded, redirects) as response:
        announced = response.length
        while received != announced and (chunk := response.read1(_CHUNK_BYTES)):
            received += len(chunk)
            if received > settings.max_file_bytes:
                raise FileTooLarge(path=url, limit=readable_bytes(settings.max_file_bytes))
            if received > room:
                raise UrlUnavailable(url=url, reason="the spool has no room for it")
            file.write(chunk)
            _check_rate(url, received, time.monotonic() - started)
        if announced is not None and received < announced:  # or the transcript would end early
            missing = announced - received
            raise UrlUnavailable(url=url, reason=f"the connection ended {missing} bytes before the file")


def _check_rate(url: str, received: int, seconds: float) -> None:
    """Raise UrlUnavailable for a server so slow that it holds up others: intake fetches few files at a time."""
    if seconds > _PATIENCE_SECONDS and received < seconds * _SLOWEST:
        raise UrlUnavailable(url=url, reason=f"it sends less than {readable_bytes(_SLOWEST)} per second")


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect must not lead where the job itself could not have pointed."""

    def __init__(self, check: Callable[[str], None]) -> None:
        self._check = check

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        self._check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
