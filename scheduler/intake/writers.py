"""Output files: each appears complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from whisper_fleet.scheduler.intake.output_names import own_stem
from whisper_fleet.shared.audio.sources import is_url
from whisper_fleet.shared.audio.sources.local import check_absolute, path_not_allowed
from whisper_fleet.shared.display.text import path_of_url
from whisper_fleet.shared.errors import OutputNotWritable
from whisper_fleet.shared.files.folder import Folder, opened_folder
from whisper_fleet.shared.files.opening import OutsideRoots, resolved_below
from whisper_fleet.shared.formats import FORMATS, WRITERS
from whisper_fleet.shared.formats.layout import PLAIN, SubtitleLayout
from whisper_fleet.shared.transcript import Transcript
from whisper_fleet.shared.wire import TranscribeRequest


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a job's output files go: `<directory>/<stem>.<format>`, or the next free name if that is another's."""

    directory: Path
    stem: str
    formats: tuple[str, ...]
    owner: str  # the input: nothing that belongs to another one is replaced
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

    def write(self, transcript: Transcript, errors: list[OutputNotWritable] | None = None) -> list[str]:
        """Write one file per format and return their paths; raises PathNotAllowed or OutputNotWritable.

        With `errors`, a format that cannot be written costs only itself: its error is appended.
        """
        files = []
        with self._errors(), opened_folder(self.directory, self.roots) as folder:
            stem = own_stem(folder, self.stem, self.formats, self.owner)
            for form in self.formats:
                name = f"{stem}.{form}"
                try:
                    folder.check_name(name)
                    folder.write(name, WRITERS[form](transcript, self.layout))
                    files.append(str(self.directory / name))
                except OSError as error:
                    if errors is None:
                        raise
                    errors.append(self._not_writable(error))
        return files

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
    file, path, layout = request.file_path, Path(request.output_path), layout_of(request)
    form = path.suffix[1:].lower()
    if form in FORMATS and not path.is_dir():
        return Target(directory=path.parent, stem=path.stem, formats=(form,), owner=file, roots=roots, layout=layout)
    return Target(directory=path, stem=stem_of(file), formats=request.formats, owner=file, roots=roots, layout=layout)


def stem_of(file: str) -> str:
    """Return the name of the outputs of an input, without their endings."""
    return Path(path_of_url(file) if is_url(file) else file).stem or "transcript"


def layout_of(request: TranscribeRequest) -> SubtitleLayout:
    """Return how a request wants its subtitles divided."""
    return SubtitleLayout(
        max_line_width=request.max_line_width,
        max_line_count=request.max_line_count,
        max_words_per_line=request.max_words_per_line,
        highlight_words=request.highlight_words,
    )
