"""`cancel`, `retry` and `delete`: what else can be done with a job."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from whisper_fleet.cli.connection import connect, server_options
from whisper_fleet.cli.exit_codes import ExitCode
from whisper_fleet.cli.terminal.json_lines import json_option, print_line
from whisper_fleet.shared.display.text import printable
from whisper_fleet.shared.errors import JobError, JobNotFinished, JobNotFound

_EXIT_CODES = {JobNotFound: ExitCode.NOT_FOUND, JobNotFinished: ExitCode.NOT_FINISHED}


@click.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@server_options
@json_option
def cancel(jobs: tuple[str, ...], as_json: bool) -> None:
    """Stop JOB at its next window."""
    with connect() as fleet:
        _each(jobs, lambda job: {"cancelled": fleet.jobs.cancel(job)}, _cancelled, as_json)


def _cancelled(fields: Mapping[str, Any]) -> str:
    return "cancelled" if fields["cancelled"] else "it had ended before"


@click.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@server_options
@json_option
def retry(jobs: tuple[str, ...], as_json: bool) -> None:
    """Submit the request of JOB, which has ended, again as a new job, and print that job's id."""
    with connect() as fleet:
        _each(jobs, lambda job: {"retried_as": fleet.jobs.retry(job)}, lambda done: str(done["retried_as"]), as_json)


@click.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@server_options
@json_option
def delete(jobs: tuple[str, ...], as_json: bool) -> None:
    """Delete the record and the transcript of JOB, which has ended, from the fleet; output files stay."""
    with connect() as fleet:

        def act(job: str) -> dict[str, Any]:
            fleet.jobs.delete(job)
            return {"deleted": True}

        _each(jobs, act, lambda _: "deleted", as_json)


def _each(
    jobs: tuple[str, ...],
    act: Callable[[str], dict[str, Any]],
    word: Callable[[Mapping[str, Any]], str],
    as_json: bool,
) -> None:
    """Do the same with each job; one that cannot be does not keep the others from it, and decides the exit code."""
    code = ExitCode.DONE
    for job in jobs:
        try:
            fields = act(job)
        except JobError as error:
            code = _EXIT_CODES.get(type(error), ExitCode.FAILED)
            click.echo(f"{type(error).__name__}: {printable(error)}", err=True)
            continue
        if as_json:
            print_line({"job": job, **fields})
        else:
            click.echo(printable(word(fields) if len(jobs) == 1 else f"{job}  {word(fields)}"))
    sys.exit(code)
