"""Output files: each appears complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from whisper_fleet.shared.audio.sources import is_url
from whisper_fleet.shared.audio.sources.local import check_absolute, path_not_allowed
from whisper_fleet.shared.errors import OutputNotWritable
from whisper_fleet.shared.files.folder import Folder, opened_folder
from whisper_fleet.shared.files.opening import OutsideRoots, resolved_below
from whisper_fleet.shared.formats import FORMATS, WRITERS
from whisper_fleet.shared.formats.layout import PLAIN, SubtitleLayout
from whisper_fleet.shared.transcript import Transcript
from whisper_fleet.shared.wire import TranscribeRequest


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a job's output files go: `<directory>/<stem>.<format>`."""

    directory: Path
    stem: str
    formats: tuple[str, ...]
    roots: tuple[Path, ...] = ()  # directories that it must be below; empty: anywhere
    layout: SubtitleLayout = PLAIN

    def check(self) -> None:
        """Raise PathNotAllowed or OutputNotWritable where no such files can be, as far as a look shows."""
        check_absolute(str(self.directory), option="output_path")
        with self._errors():
            directory = resolved_below(str(self.directory), self.roots)
            existing = next(path for path in (directory, *directory.parents) if path.exists())
            if not existing.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not os.access(existing, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            if existing == directory:
                with opened_folder(directory, self.roots) as folder:
                    self._check_names(folder)

    def prepare(self) -> None:
        """Make the directory and write in it for a test; raises PathNotAllowed or OutputNotWritable."""
        with self._errors(), opened_folder(self.directory, self.roots) as folder:
            folder.check_writable()
            self._check_names(folder)

    def write(self, transcript: Transcript, formats: Sequence[str] | None = None) -> list[str]:
        """Write one file per format and return their paths; raises PathNotAllowed or OutputNotWritable."""
        with self._errors(), opened_folder(self.directory, self.roots) as folder:
            self._check_names(folder)
            for form in formats or self.formats:
                folder.write(self._name(form), WRITERS[form](transcript, self.layout))
        return [str(self.directory / self._name(form)) for form in formats or self.formats]

    def _check_names(self, folder: Folder) -> None:
        for form in self.formats:
            folder.check_name(self._name(form))

    def _name(self, form: str) -> str:
        return f"{self.stem}.{form}"

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OutsideRoots:
            raise path_not_allowed(str(self.directory), self.roots) from None
        except OSError as error:
            raise self._not_writable(error) from error

    def _not_writable(self, error: OSError) -> OutputNotWritable:
        return OutputNotWritable(path=str(self.directory), reason=error.strerror or str(error))


def target_of(request: TranscribeRequest, roots: tuple[Path, ...] = ()) -> Target | None:
    """Return where a request's files go; None without an output_path.

    Files are named after the input. An output_path that ends in a format's name is that one file.
    """
    if request.output_path is None:
        return None
    path, layout = Path(request.output_path), _layout_of(request)
    form = path.suffix[1:].lower()
    if form in FORMATS and not path.is_dir():
        return Target(directory=path.parent, stem=path.stem, formats=(form,), roots=roots, layout=layout)
    file = request.file_path
    stem = Path(urlsplit(file).path if is_url(file) else file).stem or "transcript"
    return Target(directory=path, stem=stem, formats=request.formats, roots=roots, layout=layout)


def _layout_of(request: TranscribeRequest) -> SubtitleLayout:
    return SubtitleLayout(
        max_line_width=request.max_line_width,
        max_line_count=request.max_line_count,
        max_words_per_line=request.max_words_per_line,
        highlight_words=request.highlight_words,
    )
