"""Fetches what an allowed URL names, into the spool, for as long as it is needed; ffmpeg stays offline."""

from __future__ import annotations

import contextlib
import string
import tempfile
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from whisper_fleet.shared.audio.source import check_url
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.errors import UrlUnavailable
from whisper_fleet.shared.settings import Settings

_TIMEOUT_SECONDS = 30.0  # without a byte
#: Begins the names of what is being fetched; the janitor removes what a killed process left.
FETCHED = "fetched-"
_CHUNK_BYTES = 2**20


class _WithinPrefixes(urllib.request.HTTPRedirectHandler):
    """A redirect must not lead where the job itself could not have pointed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        check_url(newurl, self._settings)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextlib.contextmanager
def fetched(url: str, settings: Settings) -> Iterator[Path]:
    """The path of a temporary copy of what an allowed URL names; raises UrlUnavailable or UrlNotAllowed."""
    spool = Spool(settings)
    spool.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=spool.directory, prefix=FETCHED) as file:
        try:
            _copy(url, file, spool.room(), settings)
        except (OSError, HTTPException, ValueError) as error:
            raise UrlUnavailable(url=url, reason=str(error) or type(error).__name__) from None
        file.flush()
        yield Path(file.name)


def _copy(url: str, file: IO[bytes], room: int, settings: Settings) -> None:
    opener = urllib.request.build_opener(_WithinPrefixes(settings))
    encoded = quote(url, safe=string.punctuation)  # as a browser does with spaces and umlauts
    with opener.open(encoded, timeout=_TIMEOUT_SECONDS) as answer:
        while chunk := answer.read(_CHUNK_BYTES):
            room -= len(chunk)
            if room < 0:
                raise UrlUnavailable(url=url, reason="the spool has no room for it")
            file.write(chunk)
        if answer.length:  # what was announced and did not come: read() does not mind, a transcript would end early
            raise UrlUnavailable(url=url, reason=f"the connection ended {answer.length} bytes before the file")
