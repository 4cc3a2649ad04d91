"""`status`, `result` and `cancel`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from whisper_fleet.cli.connection import connect_client
from whisper_fleet.cli.terminal.job_list import job_lines, list_lines
from whisper_fleet.cli.terminal.printing import print_warnings, progress_console, results_console
from whisper_fleet.client import FleetClient
from whisper_fleet.outcome import JobResult
from whisper_fleet.scheduler.intake.writers import target_of
from whisper_fleet.shared.display.text import printable, printable_json, printable_text
from whisper_fleet.shared.embedded_redis import local_settings
from whisper_fleet.shared.errors import JobNotFinished
from whisper_fleet.shared.formats import FORMATS
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.transcript import Transcript
from whisper_fleet.shared.wire import TranscribeRequest

#: Jobs that `status` lists besides those that run.
_NEWEST = 20


@click.command()
@click.argument("job", required=False)
def status(job: str | None) -> None:
    """Show how far JOB is; without JOB, list the running and the newest jobs."""
    client = connect_client(local_settings())
    lines = job_lines(client.record(job), client.status(job)) if job else _listed(_running_and_newest(client))
    for line in lines or ["no jobs"]:
        click.echo(line)


def _running_and_newest(client: FleetClient) -> list[JobRecord]:
    """Return the jobs that are on a GPU, and then the newest of the others."""
    running = client.running()
    known = {record.job for record in running}
    return running + [record for record in client.newest(_NEWEST) if record.job not in known]


def _listed(records: Sequence[JobRecord]) -> list[str]:
    console, now = results_console(), time.time()
    width = console.width if console.is_terminal else None
    return list_lines([(record, record.progress(now)) for record in records], width) if records else []


@click.command()
@click.argument("job")
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON.")
@click.option("--output-dir", type=click.Path(path_type=Path), help="Write files into this directory of this machine.")
@click.option("--format", "formats", multiple=True, type=click.Choice(FORMATS), help="Formats of these files.")
def result(job: str, as_json: bool, output_dir: Path | None, formats: tuple[str, ...]) -> None:
    """Print the transcript of JOB, or write it to files."""
    client = connect_client(local_settings())
    outcome = client.outcome(job)
    if outcome is None:
        raise JobNotFinished(job=job, state=client.record(job).state)
    if not outcome.succeeded:
        sys.exit(printable(outcome.error))
    print_warnings(outcome.result, progress_console())
    if output_dir is not None:
        for file in _write(client.record(job).request, outcome.result, output_dir, formats):
            click.echo(printable(file))
        return
    click.echo(printable_json(outcome.data) if as_json else printable_text(outcome.result.text.strip()))


def _write(request: TranscribeRequest, result: JobResult, folder: Path, formats: tuple[str, ...]) -> list[str]:
    """Write the transcript as the fleet would have; raises OutputNotWritable."""
    changes = {"output_path": str(folder.absolute()), "formats": formats or request.formats}
    target = target_of(request.model_copy(update=changes))
    transcript = Transcript.model_validate(result.model_dump(include=set(Transcript.model_fields)))
    return target.write(transcript) if target else []


@click.command()
@click.argument("job")
def cancel(job: str) -> None:
    """Stop JOB at its next window."""
    cancelled = connect_client(local_settings()).cancel(job)
    click.echo("cancelled" if cancelled else "it had ended before")
