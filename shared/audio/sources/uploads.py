"""Files that clients uploaded to an HTTP server of the fleet: on this host's disk, or fetched from that server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from whisper_fleet.shared.audio.sources.http import fetched
from whisper_fleet.shared.errors import EmptyFile, UploadMissing, UrlUnavailable
from whisper_fleet.shared.http.uploads import SCHEME, Uploads, upload_of
from whisper_fleet.shared.settings import Settings

#: Where an HTTP server serves its uploads to the fleet's other hosts; an id is the right to read the file.
INTERNAL_PATH = "/internal/uploads"


class UploadSource:
    """`upload://<id>`; it is deleted when its job has ended."""

    may_expire = True

    def check(self, address: str, settings: Settings) -> None:
        """Raise UploadMissing for what is not an upload, EmptyFile for an empty one. Nothing is fetched."""
        path = _path(address, settings)
        if not path.exists() and not settings.upload_urls:
            raise UploadMissing(path=address, directory=path.parent, host=settings.host)
        if path.exists() and path.stat().st_size == 0:
            raise EmptyFile(path=address)

    @contextlib.contextmanager
    def opened(self, address: str, settings: Settings) -> Iterator[Path]:
        """Provide the path of the upload, or of a temporary copy; raises UploadMissing or EmptyFile."""
        self.check(address, settings)
        path = _path(address, settings)
        if path.exists():
            yield path
            return
        with self._copy(address, path, settings) as copy:
            yield copy

    @contextlib.contextmanager
    def _copy(self, address: str, path: Path, settings: Settings) -> Iterator[Path]:
        """Provide a copy from the first server that has the upload."""
        with contextlib.ExitStack() as stack:
            for server in settings.upload_urls:
                with contextlib.suppress(UrlUnavailable):
                    url = f"{server.rstrip('/')}{INTERNAL_PATH}/{path.name}"
                    copy = stack.enter_context(fetched(url, settings, lambda _: None))
                    break
            else:
                raise UploadMissing(path=address, directory=path.parent, host=settings.host)
            yield copy


def _path(address: str, settings: Settings) -> Path:
    upload = upload_of(address)
    if upload is None:
        raise UploadMissing(path=address, directory=f"{SCHEME}://", host=settings.host)
    return Uploads(settings).path(upload)
