"""Where a job's transcripts are written: a directory of the fleet's machines, or a bucket.

Admission checks the place, planning prepares it, delivery writes. A place refuses as early as it can, before the work.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from whisper_fleet.scheduler.intake.output_names import own_stem
from whisper_fleet.scheduler.intake.writers import layout_of, stem_of, target_of
from whisper_fleet.shared.audio.sources.prefixes import is_below
from whisper_fleet.shared.errors import BadOption, BucketUnavailable, OutputNotAllowed, OutputNotWritable
from whisper_fleet.shared.files.buckets import Bucket, is_bucket
from whisper_fleet.shared.formats import FORMATS, WRITERS
from whisper_fleet.shared.formats.layout import SubtitleLayout
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.transcript import Transcript
from whisper_fleet.shared.wire import TranscribeRequest


class OutputPlace(Protocol):
    """A place for the files of one job."""

    def check(self) -> None:
        """Raise an error if no files can be there, as far as a look shows."""

    def prepare(self) -> None:
        """Write there for a test."""

    def write(self, transcript: Transcript, errors: list[OutputNotWritable] | None = None) -> list[str]:
        """Write one file per format, and return their names."""


def output_place(request: TranscribeRequest, settings: Settings) -> OutputPlace | None:
    """Return where a request's transcripts go; None without an output_path."""
    if request.output_path is None:
        return None
    if not is_bucket(request.output_path):
        return target_of(request, settings.media_roots)
    address, stem, formats = request.output_path, stem_of(request.file_path), request.formats
    named = PurePosixPath(address)
    if (form := named.suffix[1:].lower()) in FORMATS:
        address, stem, formats = address.rpartition("/")[0], named.stem, (form,)
    return BucketPlace(
        address=address,
        stem=stem,
        formats=formats,
        owner=request.file_path,
        prefixes=settings.output_prefixes,
        layout=layout_of(request),
    )


@dataclass(frozen=True, kw_only=True)
class BucketPlace:
    """The objects `<address>/<stem>.<format>`, or the next free name if that is another input's."""

    address: str
    stem: str
    formats: tuple[str, ...]
    owner: str
    prefixes: tuple[str, ...]
    layout: SubtitleLayout

    def check(self) -> None:
        """Raise OutputNotAllowed unless a prefix of the settings covers the address."""
        if not is_below(f"{self.address}/", self.prefixes):
            raise OutputNotAllowed(url=self.address)
        if not self.stem:
            raise BadOption(name="output_path", reason="it names no file in the bucket")

    def prepare(self) -> None:
        """Write an object for a test, and remove it; raises OutputNotAllowed or BucketUnavailable."""
        self.check()
        probe = f".{uuid.uuid4().hex}.whisper-fleet"
        Bucket(self.address).write(probe, "")
        Bucket(self.address).remove(probe)

    def write(self, transcript: Transcript, errors: list[OutputNotWritable] | None = None) -> list[str]:
        """Write one object per format, and return their addresses; raises OutputNotAllowed or BucketUnavailable.

        With `errors`, a format that cannot be written costs only itself: its error is appended.
        """
        self.check()
        bucket, written = Bucket(self.address), []
        stem = own_stem(bucket, self.stem, self.formats, self.owner)
        for form in self.formats:
            try:
                written.append(bucket.write(f"{stem}.{form}", WRITERS[form](transcript, self.layout)))
            except BucketUnavailable as error:
                if errors is None:
                    raise
                errors.append(OutputNotWritable(path=self.address, reason=str(error)))
        return written
