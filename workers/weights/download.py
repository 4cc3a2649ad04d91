"""The download of a checkpoint from OpenAI's server, with a timeout and a checksum, and without partial files."""

from __future__ import annotations

import errno
import hashlib
import urllib.request
from http.client import HTTPException
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from rich.progress import Progress

import whisper

_TIMEOUT_SECONDS = 10.0
_CHUNK_BYTES = 2**20
#: Errors of the disk, not of the connection.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT)


class Unreachable(Exception):
    """The download failed; the message is the reason."""


def download(model: str, target: Path) -> None:
    """Download a model's checkpoint to `target`, which is only created if the download is complete.

    Raises Unreachable if the download fails, and OSError if the directory cannot be written to.
    """
    url = whisper._MODELS[model]
    expected = url.split("/")[-2]  # OpenAI's URLs contain the SHA-256
    with NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
        unfinished = Path(file.name)
        try:
            if _copy(url, file) != expected:
                raise Unreachable(f"the content of {url} does not match its checksum")
            unfinished.replace(target)
        except (OSError, HTTPException) as error:
            if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
                raise
            raise Unreachable(getattr(error, "reason", None) or error) from error
        finally:
            unfinished.unlink(missing_ok=True)


def _copy(url: str, file: IO[bytes]) -> str:
    """Write the content of the URL to the file and return its SHA-256, in hexadecimal."""
    digest = hashlib.sha256()
    opener = urllib.request.build_opener()
    with opener.open(url, timeout=_TIMEOUT_SECONDS) as response, Progress(transient=True) as progress:
        length = int(response.headers.get("Content-Length", 0))
        bar = progress.add_task(url.rsplit("/", 1)[-1], total=length or None)
        while chunk := response.read(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
            progress.advance(bar, len(chunk))
    file.flush()
    return digest.hexdigest()
