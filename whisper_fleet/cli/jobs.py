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

from whisper_fleet.cli.client import JobClient
from whisper_fleet.cli.request_options import keywords, request_options
from whisper_fleet.cli.watching import stage_of, watch_to_the_end
from whisper_fleet.deploy.processes.state_dir import use_embedded_redis
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.wire import JobState

_NEWEST = 20


@click.command()
@click.argument("files", nargs=-1, required=True)
@request_options
@click.option("--wait", is_flag=True, help="Show progress and print the transcripts.")
def submit(files: tuple[str, ...], wait: bool, options: tuple[str, ...], **asked: Any) -> None:
    """Send FILES (paths as the fleet's machines see them, or allowed URLs) to the fleet."""
    client = JobClient(use_embedded_redis())
    asked = keywords(asked, options)
    jobs = {client.submit(file_path=_absolute(file), **asked): file for file in files}
    if not wait:
        for job, file in jobs.items():
            click.echo(f"{job}  {file}")
        return
    if not watch_to_the_end(client, jobs, Console()):
        sys.exit(1)


@click.command()
@click.argument("job", required=False)
def status(job: str | None) -> None:
    """How far JOB is; without JOB, the last jobs, a line each."""
    client = JobClient(use_embedded_redis())
    records = [client.record(job)] if job else client.newest(_NEWEST)
    table = Table(box=None, header_style="bold")
    for heading, least in (("job", 36), ("state", 12), ("progress", 14), ("file", 10)):
        table.add_column(heading, min_width=least, no_wrap=job is None, overflow="fold" if job else "ellipsis")
    for record in records:
        file = record.request.file_path
        told = (record.job, record.state, _how_far(record, job is None), file if job else PurePath(file).name)
        table.add_row(*map(escape, told))
    Console().print(table if records else "no jobs")


@click.command()
@click.argument("job")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def result(job: str, as_json: bool) -> None:
    """Print the transcript of JOB."""
    outcome = JobClient(use_embedded_redis()).result(job)
    if outcome.transcript is None:
        sys.exit(outcome.error)
    everything = json.dumps(outcome.transcript, ensure_ascii=False, indent=2)
    click.echo(everything if as_json else outcome.transcript["text"].strip())


@click.command()
@click.argument("job")
def cancel(job: str) -> None:
    """Stop JOB at its next window."""
    ended = JobClient(use_embedded_redis()).cancel(job)
    click.echo("cancelled" if ended else "it had ended before")


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
    return file if "://" in file else str(Path(file).absolute())
