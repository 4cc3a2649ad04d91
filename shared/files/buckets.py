"""Buckets of object stores (`s3://`, `gs://`, `az://`) as places to read audio from and write transcripts to.

The source of bucket URLs and the writer of outputs call it. It is fsspec with one package per store, which are extras.
Credentials, endpoints and regions come from the environment as those packages read it (AWS_*, GOOGLE_*, AZURE_*, and
fsspec's own FSSPEC_S3_ENDPOINT_URL and the like). Whatever a store refuses becomes BucketUnavailable.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

from whisper_fleet.shared.errors import BucketUnavailable, FleetError

#: The package and the extra for each scheme.
PACKAGES = {
    "s3": ("s3fs", "s3"),
    "gs": ("gcsfs", "gcs"),
    "az": ("adlfs", "azure"),
}
#: What a client of a store may take to connect, and to answer. Without limits, a store that is down holds intake up.
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 3}}},
}
_CHUNK_BYTES = 2**20
_LONGEST_REASON = 300


def is_bucket(address: str) -> bool:
    """Return whether an address is in a bucket."""
    scheme, colon, rest = address.partition("://")
    return bool(colon and rest) and scheme.lower() in PACKAGES


class Bucket:
    """The object store of one address; raises BucketUnavailable for everything that goes wrong in it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._scheme = address.partition("://")[0].lower()

    def copy_to(self, file: IO[bytes], *, check: Callable[[int], None], seconds: float) -> None:
        """Copy the object into a file; `check` is called with the bytes so far, and may raise."""
        received, deadline = 0, time.monotonic() + seconds
        with self._errors(), self._filesystem().open(self._address, "rb", cache_type="readahead") as source:
            while chunk := source.read(_CHUNK_BYTES):
                received += len(chunk)
                check(received)
                if time.monotonic() > deadline:
                    raise BucketUnavailable(url=self._address, reason=f"it took longer than {seconds:g} s")
                file.write(chunk)

    def read(self, name: str) -> str | None:
        """Return a small object below the address; None if there is none."""
        with self._errors():
            try:
                data: bytes = self._filesystem().cat_file(self._path(name))
            except FileNotFoundError:
                return None
            return data.decode(errors="replace")

    def exists(self, name: str) -> bool:
        """Return whether there is an object of this name below the address."""
        with self._errors():
            return bool(self._filesystem().exists(self._path(name)))

    def create(self, name: str, text: str) -> bool:
        """Write an object that does not exist yet; False if it does."""
        if self.exists(name):
            return False
        self.write(name, text)
        return True

    def write(self, name: str, text: str) -> str:
        """Write an object below the address, and return its own address."""
        with self._errors():
            self._filesystem().pipe_file(self._path(name), text.encode())
        return self._path(name)

    def remove(self, name: str) -> None:
        """Remove an object below the address."""
        with self._errors():
            self._filesystem().rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._address.rstrip('/')}/{name}"

    def _filesystem(self) -> Any:
        import fsspec  # not at the top: fleets without buckets do not need it

        package, extra = PACKAGES[self._scheme]
        try:
            filesystem = fsspec.filesystem(self._scheme, use_listings_cache=False, **_OPTIONS.get(self._scheme, {}))
        except ImportError:
            reason = f"this host lacks the package {package}: pip install 'whisper-fleet[{extra}]'"
            raise BucketUnavailable(url=self._address, reason=reason) from None
        return filesystem

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except FleetError:
            raise
        except ImportError as error:
            raise BucketUnavailable(url=self._address, reason=f"this host lacks a package: {error}") from None
        except Exception as error:  # each store has its own exceptions, without a common base
            reason = (str(error) or type(error).__name__)[:_LONGEST_REASON]
            raise BucketUnavailable(url=self._address, reason=reason) from error
