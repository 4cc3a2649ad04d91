"""`wait`, and what every command does that waits for jobs: progress, transcripts, and the ids after Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import click
from redis.exceptions import RedisError

from whisper_fleet.cli.connection import Jobs, connect, server_options
from whisper_fleet.cli.exit_codes import ExitCode
from whisper_fleet.cli.terminal.json_lines import json_option, outcome_fields, print_line
from whisper_fleet.cli.terminal.printing import print_transcript, progress_console, results_console
from whisper_fleet.cli.terminal.watching import watch
from whisper_fleet.outcome import Outcome
from whisper_fleet.shared.display.text import printable
from whisper_fleet.shared.errors import ServerUnreachable


@click.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@server_options
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Give up waiting after this time.")
@json_option
def wait(jobs: tuple[str, ...], timeout: float | None, as_json: bool) -> None:
    """Show the progress of each JOB until it has ended, and print its transcript."""
    with connect() as fleet:
        names = {job: fleet.jobs.record(job).request.file_path for job in jobs}
        with continuing(names):
            sys.exit(wait_for(fleet.jobs, names, as_json=as_json, timeout=timeout))


def wait_for(
    jobs: Jobs,
    names: Mapping[str, str],
    *,
    as_json: bool = False,
    timeout: float | None = None,
    written: Callable[[str, Outcome], Outcome] = lambda _, outcome: outcome,
) -> ExitCode:
    """Show the progress of jobs (id -> name), print how each ended, and return the exit code.

    `written` is called once for each job as soon as it has ended, and returns what is printed.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    outcomes = watch(jobs, names, progress_console(), deadline, written)
    for job, name in names.items():
        if job in outcomes:
            _print(job, name, outcomes[job], as_json)
    left = [job for job in names if job not in outcomes]
    if left:
        click.echo(f"{len(left)} of {len(names)} jobs have not ended after {timeout:g} s.", err=True)
        report_continuing({job: names[job] for job in left})
        return ExitCode.NOT_FINISHED
    return ExitCode.DONE if all(outcome.succeeded for outcome in outcomes.values()) else ExitCode.FAILED


@contextmanager
def continuing(jobs: Mapping[str, str]) -> Iterator[None]:
    """Report the jobs (id -> name) that go on, if Ctrl-C or a lost connection ends the command before them."""
    try:
        yield
    except (KeyboardInterrupt, RedisError, ServerUnreachable):
        report_continuing(jobs)
        raise


def report_continuing(jobs: Mapping[str, str]) -> None:
    """Print which jobs go on without this command."""
    if jobs:
        how = "`whisper-fleet wait JOB` waits again, `whisper-fleet cancel JOB` ends one"
        click.echo(f"\nThe jobs continue ({how}):", err=True)
    for job, file in jobs.items():
        click.echo(f"{printable(job)}  {printable(file)}", err=True)


def _print(job: str, name: str, outcome: Outcome, as_json: bool) -> None:
    if as_json:
        print_line(outcome_fields(job, name, outcome))
    else:
        print_transcript(name, outcome, results_console(), progress_console())
