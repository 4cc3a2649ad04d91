"""A progress bar per job, until all have ended."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from whisper_fleet.cli.printing import print_transcript
from whisper_fleet.client import FleetClient
from whisper_fleet.outcome import Outcome
from whisper_fleet.shared.wire import JobProgress

_POLL_SECONDS = 0.3


def watch_to_the_end(client: FleetClient, jobs: Mapping[str, str], console: Console) -> bool:
    """Show the progress of `jobs` (id -> name), print how each ended, and return whether all did all they should."""
    outcomes = watch(client, jobs, console)
    for job, name in jobs.items():
        print_transcript(name, outcomes[job], console)
    return all(outcome.succeeded and not outcome.result.output_errors for outcome in outcomes.values())


def watch(client: FleetClient, jobs: Mapping[str, str], console: Console) -> dict[str, Outcome]:
    """Show the progress of `jobs` (id -> name) until each has ended, and return how each ended, by id."""
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
                if (outcome := client.outcome(job)) is not None:
                    outcomes[job] = outcome
                    _show_end(bars, shown[job], outcome)
                else:
                    _show_progress(bars, shown[job], client.status(job))
            time.sleep(_POLL_SECONDS)
    return outcomes


def _show_end(bars: Progress, bar: TaskID, outcome: Outcome) -> None:
    stage = "[green]done[/green]" if outcome.succeeded else "[red]failed[/red]"
    bars.update(bar, total=1, completed=1 if outcome.succeeded else 0, stage=stage)
    bars.stop_task(bar)


def _show_progress(bars: Progress, bar: TaskID, progress: JobProgress) -> None:
    stage = escape(stage_of(progress))
    bars.update(bar, total=progress.seconds_total, completed=progress.seconds_done, stage=stage)


def stage_of(progress: JobProgress) -> str:
    """Return the stage of a job with its estimated time, and why it waits."""
    eta = f", {progress.eta:.0f} s to go" if progress.eta is not None else ""
    why = f": {progress.message}" if progress.message else ""
    return f"{progress.stage}{eta}{why}"
