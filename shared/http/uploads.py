"""Uploaded files on the disk of the HTTP server that received them, by ids that cannot be guessed.

The HTTP server writes one per upload and names it in a job's `file_path` as `upload://<id>`. Intake and GPU nodes read
it through the source `upload` (shared/audio/sources/uploads.py). An upload's keeper is in Redis
(shared/http/upload_keepers.py): it is kept while its key exists, and the janitor deletes the rest.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from whisper_fleet.shared.settings import Settings

SCHEME = "upload"

#: Left free on the file system of the uploads.
_KEEP_FREE_BYTES = 2**30
_ID = re.compile(r"[0-9a-f]{48}(\.[a-z0-9]{1,8})?")


def new_id(file_name: str) -> str:
    """Return a new id, with the file name's ending: ffmpeg chooses the format of a few files by it."""
    suffix = Path(file_name).suffix.lower()
    upload = secrets.token_hex(24) + suffix
    return upload if _ID.fullmatch(upload) else secrets.token_hex(24)


def is_id(upload: str) -> bool:
    """Return whether it has the form of an upload's id, which never leads out of the directory."""
    return _ID.fullmatch(upload) is not None


def address_of(upload: str) -> str:
    """Return the `file_path` of a job that transcribes an upload."""
    return f"{SCHEME}://{upload}"


def upload_of(address: str) -> str | None:
    """Return the id of the upload that a `file_path` names; None if it names something else."""
    scheme, _, upload = address.partition("://")
    return upload if scheme == SCHEME and is_id(upload) else None


class Uploads:
    """The directory of uploads of this host."""

    def __init__(self, settings: Settings) -> None:
        self.directory = settings.uploads.absolute()

    def prepare(self) -> None:
        """Make the directory, which only the fleet's user may read."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, upload: str) -> Path:
        """Return where an upload is, or would be; ValueError for what is not an id."""
        if not is_id(upload):
            raise ValueError(f"{upload!r} is not the id of an upload")
        return self.directory / upload

    def room(self) -> int:
        """Return the bytes that may still be written."""
        with contextlib.suppress(OSError):
            return max(0, shutil.disk_usage(self.directory).free - _KEEP_FREE_BYTES)
        return 0

    def all(self) -> Iterator[Path]:
        """Yield every upload in the directory, complete or not."""
        with contextlib.suppress(OSError):
            yield from (entry for entry in self.directory.iterdir() if is_id(entry.name))

    def delete(self, upload: str) -> None:
        """Delete an upload, if it is here."""
        self.path(upload).unlink(missing_ok=True)
