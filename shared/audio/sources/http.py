"""Files on web servers: an allowed URL is fetched into the spool while it is needed, and ffmpeg stays offline."""

from __future__ import annotations

import contextlib
import string
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from whisper_fleet.shared.audio.sources.prefixes import is_below
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.errors import UrlNotAllowed, UrlUnavailable
from whisper_fleet.shared.settings import Settings

_TIMEOUT_SECONDS = 30.0  # without a byte
_CHUNK_BYTES = 2**20


class HttpSource:
    """http and https URLs that a prefix of the settings covers; they may expire."""

    may_expire = True

    def check(self, address: str, settings: Settings) -> None:
        """Raise UrlNotAllowed unless a prefix covers the URL. Nothing is fetched."""
        if not is_below(address, settings.url_prefixes):
            raise UrlNotAllowed(url=address)

    @contextlib.contextmanager
    def opened(self, address: str, settings: Settings) -> Iterator[Path]:
        """Provide the path of a temporary copy; raises UrlNotAllowed or UrlUnavailable."""
        self.check(address, settings)
        spool = Spool(settings)
        with spool.incoming() as file:
            try:
                _copy(address, file, spool.room(), self._opener(settings))
            except (OSError, HTTPException, ValueError) as error:
                raise UrlUnavailable(url=address, reason=str(error) or type(error).__name__) from None
            file.flush()
            yield Path(file.name)

    def _opener(self, settings: Settings) -> urllib.request.OpenerDirector:
        return urllib.request.build_opener(_CheckedRedirects(lambda url: self.check(url, settings)))


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect must not lead where the job itself could not have pointed."""

    def __init__(self, check: Callable[[str], None]) -> None:
        self._check = check

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        self._check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _copy(url: str, file: IO[bytes], room: int, opener: urllib.request.OpenerDirector) -> None:
    """Fetch a URL into a file of at most `room` bytes."""
    encoded = quote(url, safe=string.punctuation)  # spaces and umlauts, as a browser does
    with opener.open(encoded, timeout=_TIMEOUT_SECONDS) as response:
        while chunk := response.read(_CHUNK_BYTES):
            room -= len(chunk)
            if room < 0:
                raise UrlUnavailable(url=url, reason="the spool has no room for it")
            file.write(chunk)
        if response.length:  # read() accepts a body shorter than announced, and the transcript would end early
            raise UrlUnavailable(url=url, reason=f"the connection ended {response.length} bytes before the file")
