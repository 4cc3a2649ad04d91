"""OpenAI's own download, with a time limit, its checksum and no half file."""

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
#: What goes wrong with the disk, not on the way to the server.
_DISK = (errno.ENOSPC, errno.EDQUOT)


class Unreachable(Exception):
    """The download did not come about; the message says why."""


def download(model: str, target: Path) -> None:
    """Fetches a model's checkpoint to `target`, which exists afterwards only if it is whole.

    Raises Unreachable, or OSError where the directory cannot take it.
    """
    url = whisper._MODELS[model]
    expected = url.split("/")[-2]  # OpenAI's addresses carry the SHA-256
    with NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
        unfinished = Path(file.name)
        try:
            found = _copy(url, file)
            if found != expected:
                raise Unreachable(f"{url} gave other bytes than its checksum says")
            unfinished.replace(target)
        except (OSError, HTTPException) as error:
            if isinstance(error, OSError) and error.errno in _DISK:
                raise
            raise Unreachable(getattr(error, "reason", None) or error) from error
        finally:
            unfinished.unlink(missing_ok=True)


def _copy(url: str, file: IO[bytes]) -> str:
    """Writes what the address holds and returns its SHA-256."""
    digest = hashlib.sha256()
    opener = urllib.request.build_opener()
    with opener.open(url, timeout=_TIMEOUT_SECONDS) as answer, Progress(transient=True) as progress:
        length = int(answer.headers.get("Content-Length", 0))
        bar = progress.add_task(url.rsplit("/", 1)[-1], total=length or None)
        while chunk := answer.read(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
            progress.advance(bar, len(chunk))
    file.flush()
    return digest.hexdigest()
