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
from whisper_fleet.cli.watching import stage_of, watch_to_the_end
from whisper_fleet.deploy.processes.state_dir import use_embedded_redis
from whisper_fleet.shared.formats import FORMATS
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.requests import takes
from whisper_fleet.shared.wire import JobState

_NEWEST = 20


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--model", "model_name", help="Whisper model; the fleet's default if left out.")
@click.option("--language", help="Code such as en; left out, it is detected.")
@click.option("--task", type=click.Choice(["transcribe", "translate"]), help="Translate goes to English.")
@click.option("--priority", type=click.IntRange(0, 9), help="0 is the most urgent, 5 the default.")
@click.option("--output-dir", "output_path", type=click.Path(path_type=Path), help="Write transcripts there.")
@click.option("--format", "formats", multiple=True, type=click.Choice(FORMATS), help="Repeat it for more.")
@click.option("--gpu-ids", help='Only these GPUs: "1" on any host, "host:1" or a UUID, separated by commas.')
@click.option("--word-timestamps", is_flag=True, default=None, help="Times of words, too.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Of whisper.transcribe().")
@click.option("--wait", is_flag=True, help="Show progress and print the transcripts.")
def submit(files: tuple[str, ...], wait: bool, options: tuple[str, ...], **asked: Any) -> None:
    """Send FILES (paths as the fleet's machines see them, or allowed URLs) to the fleet."""
    client = JobClient(use_embedded_redis())
    output = asked.pop("output_path")
    asked["output_path"] = str(output.absolute()) if output else None
    asked["formats"] = list(asked["formats"]) or None
    asked |= dict(_option(option) for option in options)
    if taken := asked.keys() & {"file_path", "job"}:
        raise click.BadParameter(f"{min(taken)} is no option: FILES says what to send")
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


def _option(text: str) -> tuple[str, Any]:
    """`beam_size=5` as a name and a value: JSON where it is JSON that the option takes, else a text."""
    name, separator, value = text.partition("=")
    if not separator:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE")
    try:
        read = json.loads(value)
    except json.JSONDecodeError:
        return name, value
    # A text may look like a number: a prompt of 1984, or -1 as Whisper itself spells suppress_tokens.
    return name, value if takes(name, value) and not takes(name, read) else read
