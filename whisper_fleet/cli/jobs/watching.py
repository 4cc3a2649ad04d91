"""`submit --watch`: the files that appear below a directory, each once it is complete."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from whisper_fleet.cli.jobs.inputs import audio_files
from whisper_fleet.shared.display.text import printable

#: Seconds between two looks at the directory. A file is complete when it has not changed between two of them.
_PAUSE = 2.0

#: The form of a file: its size in bytes, and when it last changed, in nanoseconds.
Stamp = tuple[int, int]


class Arrivals:
    """Which files are complete and new; remembers what it reported. Pure: it is given each look at the directory."""

    def __init__(self) -> None:
        self._seen: dict[Path, Stamp] = {}
        self._reported: dict[Path, Stamp] = {}

    def look(self, files: dict[Path, Stamp]) -> list[Path]:
        """Return the files that are as they were at the last look, and were not reported in this form."""
        complete = [
            path
            for path, stamp in files.items()
            if stamp[0] > 0 and self._seen.get(path) == stamp != self._reported.get(path)
        ]
        self._seen = files
        self._reported |= {path: files[path] for path in complete}
        return complete


def new_files(directory: Path) -> Iterator[tuple[Path, Stamp]]:
    """Yield each complete file below a directory, now and whenever one appears or is replaced, with its form."""
    arrivals = Arrivals()
    click.echo(f"Watching {printable(directory)}; Ctrl-C ends it, and the jobs continue.", err=True)
    while True:
        stamps = _stamps(directory.absolute())
        for path in arrivals.look(stamps):
            yield path, stamps[path]
        time.sleep(_PAUSE)


def job_of(stamp: Stamp, request: Mapping[str, Any]) -> str:
    """Return the id of the job for this form of a file and this request.

    So a file that was submitted before the command was started again is the same job.
    """
    text = json.dumps([stamp, request], sort_keys=True)
    return f"watch-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _stamps(directory: Path) -> dict[Path, Stamp]:
    stamps = {}
    for path in audio_files(directory):
        try:
            status = path.stat()
        except OSError:  # it was moved away just now
            continue
        stamps[path] = (status.st_size, status.st_mtime_ns)
    return stamps
