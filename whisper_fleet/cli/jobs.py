"""`submit`, `status`, `result` and `cancel`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path, PurePath
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from whisper_fleet.cli.connection import connect_client
from whisper_fleet.cli.printing import print_warnings
from whisper_fleet.cli.request_options import keywords, request_options
from whisper_fleet.cli.watching import stage_of, watch_to_the_end
from whisper_fleet.outcome import JobResult
from whisper_fleet.scheduler.intake.writers import target_of
from whisper_fleet.shared.audio.sources import is_url
from whisper_fleet.shared.embedded_redis import local_settings
from whisper_fleet.shared.errors import JobNotFinished
from whisper_fleet.shared.formats import FORMATS
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.transcript import Transcript
from whisper_fleet.shared.wire import JobState, TranscribeRequest

_NEWEST = 20


@click.command()
@click.argument("files", nargs=-1, required=True)
@request_options
@click.option("--wait", is_flag=True, help="Show progress and print the transcripts.")
def submit(files: tuple[str, ...], wait: bool, options: tuple[str, ...], **given: Any) -> None:
    """Submit FILES, which are paths as the fleet's machines see them, or allowed URLs."""
    client = connect_client(local_settings())
    request = keywords(given, options)
    jobs = {client.submit(file_path=_absolute(file), **request): file for file in files}
    if not wait:
        for job, file in jobs.items():
            click.echo(f"{job}  {file}")
        return
    if not watch_to_the_end(client, jobs, Console()):
        sys.exit(1)


@click.command()
@click.argument("job", required=False)
def status(job: str | None) -> None:
    """Show how far JOB is; without JOB, list the newest jobs."""
    client = connect_client(local_settings())
    records = [client.record(job)] if job else client.newest(_NEWEST)
    table = Table(box=None, header_style="bold")
    for heading, least in (("job", 36), ("state", 12), ("progress", 14), ("file", 10)):
        table.add_column(heading, min_width=least, no_wrap=job is None, overflow="fold" if job else "ellipsis")
    for record in records:
        file = record.request.file_path
        row = (record.job, record.state, _how_far(record, job is None), file if job else PurePath(file).name)
        table.add_row(*map(escape, row))
    Console().print(table if records else "no jobs")


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
        sys.exit(outcome.error)
    print_warnings(outcome.result)
    if output_dir is not None:
        for file in _write(client.record(job).request, outcome.result, output_dir, formats):
            click.echo(file)
        return
    everything = json.dumps(outcome.data, ensure_ascii=False, indent=2)
    click.echo(everything if as_json else outcome.result.text.strip())


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


def _how_far(record: JobRecord, is_brief: bool) -> str:
    if record.error:
        return str(record.error_type) if is_brief else f"{record.error_type}: {record.error}"
    progress = record.progress(time.time())
    if progress.seconds_total is None:
        return stage_of(progress)
    if record.state == JobState.DONE:
        return f"{progress.seconds_total:.0f} s"
    return f"{progress.seconds_done:.0f} of {progress.seconds_total:.0f} s, {stage_of(progress)}"


def _absolute(file: str) -> str:
    return file if is_url(file) else str(Path(file).absolute())
