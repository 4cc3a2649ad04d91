"""Output files: each appears complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from whisper_fleet.shared.audio.sources import is_url
from whisper_fleet.shared.errors import OutputNotWritable
from whisper_fleet.shared.formats import FORMATS, WRITERS
from whisper_fleet.shared.transcript import Transcript
from whisper_fleet.shared.wire import TranscribeRequest


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a job's output files go: `<directory>/<stem>.<format>`."""

    directory: Path
    stem: str
    formats: tuple[str, ...]

    def check(self) -> None:
        """Raise OutputNotWritable where no such files can be, as far as a look shows; nothing is made."""
        try:
            existing = next(path for path in (self.directory, *self.directory.parents) if path.exists())
            if not existing.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not os.access(existing, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            for form in self.formats:
                _check_name(self._path(form))
        except OSError as error:
            raise self._not_writable(error) from error

    def prepare(self) -> None:
        """Make the directory and write in it for a test; raises OutputNotWritable."""
        probe = self.directory / f".{uuid.uuid4().hex}"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
            for form in self.formats:
                _check_name(self._path(form))
        except OSError as error:
            raise self._not_writable(error) from error

    def write(self, transcript: Transcript) -> list[str]:
        """Write one file per format and return their paths; raises OutputNotWritable."""
        self.prepare()
        return [self._write(form, transcript) for form in self.formats]

    def _write(self, form: str, transcript: Transcript) -> str:
        path = self._path(form)
        unfinished = self.directory / f".{uuid.uuid4().hex}.{form}"
        try:
            unfinished.write_text(WRITERS[form](transcript), encoding="utf-8")
            unfinished.replace(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise self._not_writable(error) from error
        return str(path)

    def _path(self, form: str) -> Path:
        return self.directory / f"{self.stem}.{form}"

    def _not_writable(self, error: OSError) -> OutputNotWritable:
        return OutputNotWritable(path=str(self.directory), reason=error.strerror or str(error))


def _check_name(path: Path) -> None:
    """Raise OSError if no file can have this name: it is too long, or a directory has it."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(path.stat().st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def target_of(request: TranscribeRequest) -> Target | None:
    """Return where a request's files go; None without an output_path.

    Files are named after the input. An output_path that ends in a format's name is that one file.
    """
    if request.output_path is None:
        return None
    path = Path(request.output_path)
    form = path.suffix[1:].lower()
    if form in FORMATS and not path.is_dir():
        return Target(directory=path.parent, stem=path.stem, formats=(form,))
    file = request.file_path
    stem = Path(urlsplit(file).path if is_url(file) else file).stem or "transcript"
    return Target(directory=path, stem=stem, formats=request.formats)
