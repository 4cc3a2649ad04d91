"""Objects in buckets: an allowed one is fetched into the spool while it is needed, as a URL is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from whisper_fleet.shared.audio.sources.prefixes import check_url
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.errors import BucketUnavailable, EmptyFile, FileTooLarge
from whisper_fleet.shared.files.buckets import Bucket
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.units import readable_bytes


class BucketSource:
    """`s3://`, `gs://` and `az://` addresses that a prefix of WHISPER_FLEET_URL_PREFIXES covers."""

    may_expire = True

    def check(self, address: str, settings: Settings) -> None:
        """Raise UrlNotAllowed unless a prefix covers the address. Nothing is fetched."""
        check_url(address, settings)

    @contextlib.contextmanager
    def opened(self, address: str, settings: Settings) -> Iterator[Path]:
        """Provide the path of a temporary copy; raises UrlNotAllowed, FileTooLarge, EmptyFile or BucketUnavailable."""
        self.check(address, settings)
        spool = Spool(settings)
        room = spool.room()

        def check_size(received: int) -> None:
            if received > settings.max_file_bytes:
                raise FileTooLarge(path=address, limit=readable_bytes(settings.max_file_bytes))
            if received > room:
                raise BucketUnavailable(url=address, reason="the spool has no room for it")

        with spool.incoming() as file:
            Bucket(address).copy_to(file, check=check_size, seconds=settings.download_timeout)
            file.flush()
            if file.tell() == 0:
                raise EmptyFile(path=address)
            yield Path(file.name)
