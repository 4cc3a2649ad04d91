"""A progress bar per job, until all have ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from whisper_fleet.cli.connection import Jobs
from whisper_fleet.cli.terminal.job_list import shortened
from whisper_fleet.outcome import Outcome
from whisper_fleet.shared.display.text import file_name, printable
from whisper_fleet.shared.wire import JobProgress

_POLL_SECONDS = 0.3
_BAR_CELLS = 16
#: The name's part of the terminal's width.
_NAME_SHARE = 1 / 3


def watch(
    client: Jobs,
    jobs: Mapping[str, str],
    console: Console,
    deadline: float | None = None,
    written: Callable[[str, Outcome], Outcome] = lambda _, outcome: outcome,
) -> dict[str, Outcome]:
    """Show the progress of `jobs` (id -> name) until each has ended, and return how each ended, by id.

    `written` is called for a job as soon as it has ended, and returns the outcome that counts. A job that has not ended
    at `deadline`, by the monotonic clock, is not in what is returned.
    """
    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(_BAR_CELLS),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[stage]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    outcomes: dict[str, Outcome] = {}
    room = int(console.width * _NAME_SHARE)
    with Progress(*columns, console=console) as bars:
        shown = {
            job: bars.add_task(shortened(file_name(name), room), total=None, stage="waiting")
            for job, name in jobs.items()
        }
        while shown.keys() - outcomes.keys():
            for job in shown.keys() - outcomes.keys():
                if (outcome := client.outcome(job)) is not None:
                    outcomes[job] = written(job, outcome)
                    _show_end(bars, shown[job], outcome)
                else:
                    _show_progress(bars, shown[job], client.status(job))
            if deadline is not None and time.monotonic() >= deadline:
                break
            time.sleep(_POLL_SECONDS)
    return outcomes


def _show_end(bars: Progress, bar: TaskID, outcome: Outcome) -> None:
    bars.update(bar, total=1, completed=1 if outcome.succeeded else 0, stage="done" if outcome.succeeded else "failed")
    bars.stop_task(bar)


def _show_progress(bars: Progress, bar: TaskID, progress: JobProgress) -> None:
    stage = printable(stage_of(progress))
    bars.update(bar, total=progress.seconds_total, completed=progress.seconds_done, stage=stage)


def stage_of(progress: JobProgress) -> str:
    """Return the stage of a job with its estimated time, and why it waits."""
    eta = f", {progress.eta:.0f} s to go" if progress.eta is not None else ""
    why = f": {progress.message}" if progress.message else ""
    return f"{progress.stage}{eta}{why}"
