"""Lays a snapshot out as lines of text that fit a terminal. Pure; from 60 columns on nothing is cut but names."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from whisper_fleet.cli.terminal.job_list import shortened
from whisper_fleet.cli.top.snapshot import FailureLine, GpuLine, JobLine, TopSnapshot
from whisper_fleet.cli.top.view import Mode, View

_BAR = 10
_GAP = "  "
_MOST_FAILURES = 3
_GIB = 2**30


def render(snapshot: TopSnapshot, view: View, width: int, height: int | None = None) -> list[Text]:
    """Return the lines of a screen of this size; without a height, as in a pipe, everything."""
    header = _header(snapshot, width)
    failures = _failures(snapshot, width)
    footer = [] if height is None else [_footer(snapshot, view, width)]
    left = None if height is None else max(height - len(header) - len(failures) - len(footer), 2)
    gpus = _limited(_gpus(snapshot.gpus, width), None if left is None else max(left // 2, 3), "GPUs")
    jobs = _jobs(snapshot, view, width, None if left is None else left - len(gpus))
    lines = [*header, *gpus, *jobs, *failures]
    if height is not None:
        lines = lines[: height - len(footer)]
        lines += [Text("")] * (height - len(footer) - len(lines))
    return [*lines, *footer]


def _header(snapshot: TopSnapshot, width: int) -> list[Text]:
    up = sum(gpu.is_up for gpu in snapshot.gpus)
    clock = time.strftime("%H:%M:%S", time.localtime(snapshot.at))
    fleet = f"{_count(snapshot.hosts, 'host')}, {up} of {_count(len(snapshot.gpus), 'GPU')} up"
    waiting = f"waiting {_count(snapshot.jobs_waiting, 'job')}, {_count(snapshot.segments_waiting, 'segment')}"
    lines = [
        _spread(f"whisper-fleet {clock}", f"{fleet}, {snapshot.speed:,.0f}x", width, "bold"),
        _spread(
            f"{waiting}, {_length(snapshot.seconds_waiting)}",
            f"intake {snapshot.messages}, failed {snapshot.jobs_failed}",
            width,
        ),
    ]
    if snapshot.problem:
        lines.append(Text(shortened(snapshot.problem, width), "bold red"))
    return [*lines, Text("")]


def _gpus(gpus: Sequence[GpuLine], width: int) -> list[Text]:
    if not gpus:
        return [Text("no GPU node is up: see `whisper-fleet doctor`", "red"), Text("")]
    fixed = f"{'busy':>9}{'rows':>6}{'GiB':>12}{'speed':>9}"
    name = max(min(max(len(gpu.id) for gpu in gpus), width - len(fixed) - len(_GAP) - 5), 8)
    lines = [Text(f"{'GPU':<{name}}{fixed}", "bold dim")]
    for gpu in sorted(gpus, key=lambda one: one.id):
        lines.append(_gpu(gpu, name))
    return [*lines, Text("")]


def _gpu(gpu: GpuLine, name: int) -> Text:
    memory = "-" if gpu.used_bytes is None or not gpu.total_bytes else _memory(gpu.used_bytes, gpu.total_bytes)
    speed = "-" if gpu.speed is None else f"{gpu.speed:,.0f}x"
    rows = "-" if gpu.rows is None else str(gpu.rows)
    line = Text(f"{_padded(gpu.id, name)}{f'{gpu.busy}/{gpu.slots}':>9}{rows:>6}{memory:>12}{speed:>9}")
    if not gpu.is_up:
        line.append(f"{_GAP}down", "red")
    return line


def _jobs(snapshot: TopSnapshot, view: View, width: int, room: int | None) -> list[Text]:
    shown = view.shown(snapshot.jobs)
    title = f"running: {len(shown)}" + (f" of {len(snapshot.jobs)} match {view.filter!r}" if view.filter else "")
    lines = [Text(shortened(f"{title}, by {view.order}", width), "bold dim")]
    if room is None:
        visible, hidden = shown, 0
    else:
        most = max((room - 2) // 2, 1)
        first = _first_visible(shown, view.selected, most)
        visible = shown[first : first + most]
        hidden = len(shown) - len(visible)
    for job in visible:
        lines += _job(job, width, is_selected=job.job == view.selected)
    if hidden:
        lines.append(Text(f"… {hidden} more", "dim"))
    return lines


def _first_visible(shown: Sequence[JobLine], selected: str | None, most: int) -> int:
    """Return the first job of the page on which the selected one is."""
    place = next((place for place, job in enumerate(shown) if job.job == selected), 0)
    return place // most * most


def _job(job: JobLine, width: int, *, is_selected: bool) -> list[Text]:
    filled = round(job.share * _BAR)
    total = "?" if job.seconds_total is None else _length(job.seconds_total)
    left = "" if job.eta is None else f"{_length(job.eta)} left"
    figures = f"{'█' * filled}{'░' * (_BAR - filled)} {job.share:>4.0%} of {total:>6} {left:>11}"
    first = _spread(job.file, figures, width, "reverse" if is_selected else "")
    second = f"{_GAP}{job.job}" if is_selected else f"{_GAP}{_end_of(job.text, width - len(_GAP))}"
    return [first, Text(shortened(second, width), "dim")]


def _failures(snapshot: TopSnapshot, width: int) -> list[Text]:
    if not snapshot.failures:
        return []
    lines = [Text(""), Text("failed recently", "bold dim")]
    for failure in snapshot.failures[:_MOST_FAILURES]:
        line = Text(_failure(failure, snapshot.at), "red")
        line.truncate(width, overflow="ellipsis")
        lines.append(line)
    return lines


def _failure(failure: FailureLine, now: float) -> str:
    return f"{failure.file}, {_length(max(now - failure.ended, 0.0))} ago: {failure.error}"


def _footer(snapshot: TopSnapshot, view: View, width: int) -> Text:
    match view.mode:
        case Mode.FILTER:
            return Text(shortened(f"filter: {view.filter}_  (Enter keeps, Esc clears)", width), "reverse")
        case Mode.CONFIRM:
            name = next((job.file for job in snapshot.jobs if job.job == view.selected), view.selected or "")
            question = " - cancel this job? y/n"
            return Text(shortened(name, width - len(question)) + question, "reverse")
    return Text(shortened("q quit  s sort  / filter  ↑↓ select  c cancel  Esc clear", width), "dim")


def _limited(lines: list[Text], most: int | None, what: str) -> list[Text]:
    if most is None or len(lines) <= most:
        return lines
    kept = lines[: most - 2]
    return [*kept, Text(f"… {len(lines) - 1 - len(kept)} more {what}", "dim"), Text("")]


def _spread(left: str, right: str, width: int, style: str = "") -> Text:
    """Return a line with one text at its left end, shortened if need be, and one at its right end."""
    room = max(width - cell_len(right) - len(_GAP), 1)
    left = shortened(left, room)
    gap = max(width - cell_len(left) - cell_len(right), 1)
    return Text(shortened(f"{left}{' ' * gap}{right}", width), style)


def _end_of(text: str, cells: int) -> str:
    """Return the end of a text that fits into so many cells."""
    if cell_len(text) <= cells:
        return text
    kept = ""
    for character in reversed(text):
        if cell_len(kept) + cell_len(character) >= cells:
            break
        kept = character + kept
    return "…" + kept


def _padded(text: str, cells: int) -> str:
    text = shortened(text, cells)
    return text + " " * (cells - cell_len(text))


def _memory(used: int, total: int) -> str:
    return f"{used / _GIB:.1f}/{total / _GIB:.1f}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _length(seconds: float) -> str:
    """Return a length of time in its most fitting unit: `45 s`, `12 min`, `3.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
