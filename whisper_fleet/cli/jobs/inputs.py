"""From what a user names (files, directories, patterns, lists, URLs) to the files to submit, and where their text goes.

Knows the file system of this machine and nothing of the fleet. A name that stands for no file is an error, so that
nothing is left out silently.
"""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from whisper_fleet.scheduler.intake.writers import target_of
from whisper_fleet.shared.audio.containers import CONTAINERS
from whisper_fleet.shared.audio.sources import is_url
from whisper_fleet.shared.errors import FileMissing, NotAFile, RequestError
from whisper_fleet.shared.files.buckets import is_bucket
from whisper_fleet.shared.formats import FORMATS
from whisper_fleet.shared.wire import TranscribeRequest

#: The extensions of the files that a directory is searched for.
_EXTENSIONS = frozenset(f".{extension}" for container in CONTAINERS for extension in container.extensions.split())


@dataclass(frozen=True, kw_only=True)
class Input:
    """One file to submit."""

    file: str  # absolute path, or URL
    folder: Path = Path()  # of the file below the directory that was named: output keeps this structure


def expand(named: Iterable[str]) -> Iterator[Input]:
    """Yield the inputs that names stand for, in order.

    A directory stands for the audio and video files below it, a pattern such as `talks/*.mp3` for what it matches.
    """
    for name in named:
        if is_url(name):
            yield Input(file=name)
        elif "\0" not in name and Path(name).is_dir():
            yield from _below(Path(name))
        elif glob.has_magic(name) and not _exists(name):
            yield from _matching(name)
        else:
            yield Input(file=str(Path(name).absolute()))


def audio_files(directory: Path) -> list[Path]:
    """Return the audio and video files below a directory, by their extensions; hidden ones are left out."""
    return sorted(path for path in directory.rglob("*") if _is_audio(path, directory))


def read_list(source: str) -> list[str]:
    """Return the names in a file, one per line; `-` is standard input. Relative paths start in this directory."""
    try:
        lines = sys.stdin if source == "-" else Path(source).read_text().splitlines()
        return [line.strip() for line in lines if line.strip()]
    except UnicodeDecodeError:
        raise click.BadParameter(f"{source} is not a list of names in UTF-8", param_hint="--from-file") from None


def output_of(item: Input, output_dir: str | None, *, next_to_input: bool) -> str | None:
    """Return the place for an input's transcripts, or the file if `output_dir` names one; None for no files.

    `output_dir` is a directory or a folder of a bucket; below it, the structure of the input's directory is kept.
    """
    if next_to_input:
        return str(Path(item.file).parent)
    if output_dir is None or not is_bucket(output_dir):
        return None if output_dir is None else str(Path(output_dir).absolute() / item.folder)
    below = item.folder.as_posix()
    return output_dir if below == "." else f"{output_dir.rstrip('/')}/{below}"


def has_output(item: Input, output_path: str, formats: Sequence[str]) -> bool:
    """Return whether there is a transcript of every format for an input already."""
    request = TranscribeRequest(
        file_path=item.file, model_name="any", output_path=output_path, formats=tuple(formats) or FORMATS
    )
    target = None if is_bucket(output_path) else target_of(request)
    return target is not None and all((target.directory / f"{target.stem}.{form}").exists() for form in target.formats)


def problem_with(item: Input, host: str) -> RequestError | None:
    """Return what is wrong with an input as far as this machine sees; None for a file, or a URL."""
    if is_url(item.file):
        return None
    path = Path(item.file)
    try:
        if path.is_file():
            return None
        return NotAFile(path=path) if path.exists() else FileMissing(path=path, host=host)
    except ValueError:  # it holds a NUL
        return FileMissing(path=path, host=host)


def _below(directory: Path) -> Iterator[Input]:
    files = audio_files(directory)
    if not files:
        raise click.UsageError(f"there are no audio or video files below {directory}")
    for path in files:
        yield Input(file=str(path.absolute()), folder=path.parent.relative_to(directory))


def _matching(pattern: str) -> Iterator[Input]:
    paths = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  # Path.glob takes no absolute pattern
    if not paths:
        raise click.UsageError(f"nothing matches {pattern}")
    for path in map(Path, paths):
        if path.is_dir():
            yield from (Input(file=str(file.absolute())) for file in audio_files(path))
        else:
            yield Input(file=str(path.absolute()))


def _exists(name: str) -> bool:
    return Path(name).exists()  # a name with brackets may be that of a file


def _is_audio(path: Path, root: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return not is_hidden and path.suffix.lower() in _EXTENSIONS and path.is_file()
