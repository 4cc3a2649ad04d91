"""`status` and `list`: how far jobs are."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from whisper_fleet.cli.connection import Jobs, connect, server_options
from whisper_fleet.cli.terminal.job_list import job_lines, list_lines
from whisper_fleet.cli.terminal.json_lines import job_fields, json_option, print_line
from whisper_fleet.cli.terminal.printing import results_console
from whisper_fleet.client import FleetClient
from whisper_fleet.shared.display.text import printable
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.wire import JobProgress, JobState

#: Jobs that `status` lists besides those that run.
_NEWEST = 20
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


class _Moment(click.ParamType[float]):
    """A moment in Unix seconds: an age such as 90m, 12h or 7d, or a local date and time in ISO 8601."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if age := re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", value):
            return time.time() - float(age[1]) * _UNITS[age[2]]
        try:
            return datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither an age such as 12h or 7d nor a date such as 2026-11-27", param, ctx)


@click.command()
@click.argument("job", required=False)
@server_options
@json_option
def status(job: str | None, as_json: bool) -> None:
    """Show how far JOB is; without JOB, list the running and the newest jobs."""
    with connect() as fleet:
        _report_intake(fleet.jobs)
        if job is None:
            _print_list(_running_and_newest(fleet.jobs), as_json)
            return
        record, progress = fleet.jobs.record(job), fleet.jobs.status(job)
    if as_json:
        print_line(job_fields(record, progress))
        return
    for line in job_lines(record, progress):
        click.echo(line)


def _report_intake(jobs: Jobs) -> None:
    """Report on standard error if no intake accepts requests; a server that is asked by HTTP reports that itself."""
    if isinstance(jobs, FleetClient) and (problem := jobs.intake_problem()):
        click.echo(printable(problem), err=True)


@click.command("list")
@server_options
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in JobState]),
    help="Only jobs in this state; repeatable.",
)
@click.option("--label", "labels", multiple=True, metavar="NAME=TEXT", help="Only jobs with this label; repeatable.")
@click.option("--since", type=_Moment(), help="Only jobs that were submitted since: 90m, 12h, 7d, or 2026-11-27T09:00.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="The most jobs to list.")
@json_option
def list_jobs(states: tuple[str, ...], labels: tuple[str, ...], since: float | None, limit: int, as_json: bool) -> None:
    """List jobs, newest first."""
    wanted = dict(map(_name_and_text, labels))
    with connect() as fleet:
        matching = fleet.jobs.jobs(states=tuple(map(JobState, states)), labels=wanted, since=since)
        records = list(itertools.islice(matching, limit + 1))
    _print_list(records[:limit], as_json)
    if len(records) > limit:
        click.echo(f"There are more: --limit shows more than {limit}.", err=True)


def _name_and_text(label: str) -> tuple[str, str]:
    name, separator, text = label.partition("=")
    if not (name and separator):
        raise click.BadParameter(f"{label!r} is not NAME=TEXT", param_hint="--label")
    return name, text


def _running_and_newest(jobs: Jobs) -> list[JobRecord]:
    """Return the jobs that are on a GPU, and then the newest of the others."""
    running = jobs.running()
    known = {record.job for record in running}
    newest = itertools.islice(jobs.jobs(), _NEWEST)
    return running + [record for record in newest if record.job not in known]


def _print_list(records: Sequence[JobRecord], as_json: bool) -> None:
    now = time.time()
    listed = [(record, record.progress(now)) for record in records]
    if as_json:
        for record, progress in listed:
            print_line(job_fields(record, progress))
        return
    for line in _lines(listed):
        click.echo(line)
    if not listed:
        click.echo("no jobs", err=True)


def _lines(listed: Sequence[tuple[JobRecord, JobProgress]]) -> list[str]:
    console = results_console()
    return list_lines(listed, console.width if console.is_terminal else None) if listed else []
