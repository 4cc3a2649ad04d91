"""Output files, by whisper's own writers: each appears whole or not at all."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from whisper.utils import get_writer

from shared.errors import OutputNotWritable
from shared.requests import FORMATS
from shared.wire import TranscribeRequest


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a job's output files go: `<directory>/<stem>.<format>`."""

    directory: Path
    stem: str
    formats: tuple[str, ...]

    def prepare(self) -> None:
        """Make the directory and try to write in it; raises OutputNotWritable."""
        probe = self.directory / f".{uuid.uuid4().hex}"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise self._not_writable(error) from error

    def write(self, result: dict[str, Any]) -> list[str]:
        """The paths of the files, written from a result as whisper.transcribe() gives it."""
        self.prepare()
        return [self._write(form, result) for form in self.formats]

    def _write(self, form: str, result: dict[str, Any]) -> str:
        path = self.directory / f"{self.stem}.{form}"
        unfinished = self.directory / f".{uuid.uuid4().hex}.{form}"
        try:
            with unfinished.open("w", encoding="utf-8") as file:
                get_writer(form, str(self.directory)).write_result(result, file=file)
            unfinished.replace(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise self._not_writable(error) from error
        return str(path)

    def _not_writable(self, error: OSError) -> OutputNotWritable:
        return OutputNotWritable(path=str(self.directory), reason=error.strerror or str(error))


def target_of(request: TranscribeRequest) -> Target | None:
    """Files are named for the input; an output_path that ends in a format's name is that one file."""
    if request.output_path is None:
        return None
    path = Path(request.output_path)
    form = path.suffix[1:].lower()
    if form in FORMATS and not path.is_dir():
        return Target(directory=path.parent, stem=path.stem, formats=(form,))
    stem = Path(urlsplit(request.file_path).path).stem or "transcript"
    return Target(directory=path, stem=stem, formats=request.formats)
