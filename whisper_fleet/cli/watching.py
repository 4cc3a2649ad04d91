"""A progress bar for every job, until all have ended."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from whisper_fleet.cli.client import JobClient, Outcome
from whisper_fleet.cli.printing import print_transcript
from whisper_fleet.shared.wire import JobProgress

_LOOK_SECONDS = 0.3


def watch_to_the_end(client: JobClient, jobs: Mapping[str, str], console: Console) -> bool:
    """Shows `jobs` (id -> name) until each has ended, and prints what came of them; whether all succeeded."""
    outcomes = watch(client, jobs, console)
    for job, name in jobs.items():
        print_transcript(name, outcomes[job], console)
    return all(outcome.succeeded for outcome in outcomes.values())


def watch(client: JobClient, jobs: Mapping[str, str], console: Console) -> dict[str, Outcome]:
    """Shows `jobs` (id -> name) until each has ended; how each ended, by id."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[stage]}"),
    )
    outcomes: dict[str, Outcome] = {}
    with Progress(*columns, console=console) as bars:
        shown = {job: bars.add_task(name, total=None, stage="waiting") for job, name in jobs.items()}
        while shown.keys() - outcomes.keys():
            for job in shown.keys() - outcomes.keys():
                _look(client, job, bars, shown[job], outcomes)
            time.sleep(_LOOK_SECONDS)
    return outcomes


def _look(client: JobClient, job: str, bars: Progress, bar: TaskID, outcomes: dict[str, Outcome]) -> None:
    outcome = client.outcome(job)
    if outcome is not None:
        outcomes[job] = outcome
        stage = "[green]done[/green]" if outcome.succeeded else "[red]failed[/red]"
        bars.update(bar, total=1, completed=1 if outcome.succeeded else 0, stage=stage)
        bars.stop_task(bar)
        return
    progress = client.progress(job)
    if progress is not None:
        done, total = progress.seconds_done, progress.seconds_total
        bars.update(bar, total=total, completed=done, stage=escape(stage_of(progress)))


def stage_of(progress: JobProgress) -> str:
    """Where a job is, in a few words."""
    eta = f", {progress.eta:.0f} s to go" if progress.eta is not None else ""
    why = f": {progress.message}" if progress.message else ""
    return f"{progress.stage}{eta}{why}"
