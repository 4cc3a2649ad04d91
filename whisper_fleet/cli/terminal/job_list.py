"""The list of jobs, and one job in full, as lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from whisper_fleet.shared.display.text import file_name, printable
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.wire import JobProgress, JobState

_GAP = "  "
#: Cells that a file's name needs at least; with fewer left, the ids get lines of their own.
_LEAST_NAME = 14
_MOST_STATE = 30


@dataclass(frozen=True)
class _Row:
    file: str
    state: str
    job: str


def list_lines(jobs: Sequence[tuple[JobRecord, JobProgress]], width: int | None) -> list[str]:
    """Return a line per job: the file's name, how far it is, and the id, which is never shortened.

    `width` is that of the terminal in cells; without one, as in a pipe, nothing is shortened.
    """
    rows = [_row(record, progress) for record, progress in jobs]
    if width is None:
        return _lines(rows, max(cell_len(row.file) for row in rows), max(cell_len(row.state) for row in rows))
    ids = max(len(row.job) for row in rows)
    has_room = width - ids - 2 * len(_GAP) - _longest_state(rows) >= _LEAST_NAME
    room = width - _longest_state(rows) - len(_GAP) - (ids + len(_GAP) if has_room else 0)
    names = max(min(max(cell_len(row.file) for row in rows), room), 1)
    return _lines(rows, names, _longest_state(rows), ids_below=not has_room)


def job_lines(record: JobRecord, progress: JobProgress) -> list[str]:
    """Return everything about one job, with the whole path."""
    fields = {
        "file": record.request.file_path,
        "job": record.job,
        "state": how_far(record, progress),
        "error": f"{record.error_type}: {record.error}" if record.error else None,
        "waits": None if record.error else progress.message,
        "to go": None if progress.eta is None or record.state.is_final else f"{progress.eta:.0f} s",
    }
    return [f"{name:<7}{printable(value)}" for name, value in fields.items() if value]


def how_far(record: JobRecord, progress: JobProgress) -> str:
    """Return a job's state, and how much of its audio is transcribed."""
    if record.state is JobState.FAILED:
        return f"failed: {record.error_type}"
    if record.state is JobState.DONE and record.duration is not None:
        return f"done, {record.duration:.0f} s"
    if record.state is JobState.RUNNING and progress.seconds_total:
        return f"{progress.stage}, {progress.seconds_done:.0f} of {progress.seconds_total:.0f} s"
    return progress.stage


def shortened(text: str, cells: int) -> str:
    """Return a text that fits into so many cells, with what is left out of its middle shown as …"""
    if cell_len(text) <= cells:
        return text
    room = cells - 1
    end = _fitting(text[::-1], room // 2)[::-1]
    return _fitting(text, room - cell_len(end)) + "…" + end


def _row(record: JobRecord, progress: JobProgress) -> _Row:
    return _Row(file_name(record.request.file_path), printable(how_far(record, progress)), printable(record.job))


def _longest_state(rows: Sequence[_Row]) -> int:
    return min(max(cell_len(row.state) for row in rows), _MOST_STATE)


def _lines(rows: Sequence[_Row], names: int, states: int, *, ids_below: bool = False) -> list[str]:
    lines = []
    for row in rows:
        start = f"{_padded(row.file, names)}{_GAP}{_padded(row.state, states)}"
        lines += [start.rstrip(), _GAP + row.job] if ids_below else [f"{start}{_GAP}{row.job}"]
    return lines


def _padded(text: str, cells: int) -> str:
    text = shortened(text, cells)
    return text + " " * (cells - cell_len(text))


def _fitting(text: str, cells: int) -> str:
    """Return the longest beginning of a text that fits into so many cells."""
    taken = ""
    for character in text:
        if cell_len(taken + character) > cells:
            break
        taken += character
    return taken
