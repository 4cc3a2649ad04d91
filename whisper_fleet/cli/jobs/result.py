"""`result`: a transcript, in the form that is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from whisper_fleet.cli.connection import connect
from whisper_fleet.cli.exit_codes import ExitCode
from whisper_fleet.cli.terminal.printing import print_warnings, progress_console
from whisper_fleet.outcome import JobResult
from whisper_fleet.scheduler.intake.writers import layout_of, target_of
from whisper_fleet.shared.display.text import printable, printable_json, printable_text
from whisper_fleet.shared.errors import JobNotFinished
from whisper_fleet.shared.formats import FORMATS, WRITERS
from whisper_fleet.shared.transcript import Transcript
from whisper_fleet.shared.wire import TranscribeRequest


@click.command()
@click.argument("job")
@click.option("--json", "as_json", is_flag=True, help="Print the complete result as JSON.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(FORMATS),
    help="Print the transcript in this format; with --output-dir, write files of these formats.",
)
@click.option("--output-dir", type=click.Path(path_type=Path), help="Write files into this directory of this machine.")
def result(job: str, as_json: bool, output_dir: Path | None, formats: tuple[str, ...]) -> None:
    """Print the transcript of JOB, or write it to files."""
    if output_dir is None and len(formats) + as_json > 1:
        raise click.UsageError("only one format can be printed: choose one, or name a directory with --output-dir")
    with connect() as fleet:
        outcome, record = fleet.jobs.outcome(job), fleet.jobs.record(job)
    if outcome is None:
        raise JobNotFinished(job=job, state=record.state)
    if outcome.data is None:
        click.echo(printable(outcome.error), err=True)
        sys.exit(ExitCode.FAILED)
    found = outcome.result
    print_warnings(found, progress_console())
    if output_dir is not None:
        for file in _write(record.request, found, output_dir, formats):
            click.echo(printable(file))
    elif as_json:
        click.echo(printable_json(outcome.data))
    elif formats:
        text = WRITERS[formats[0]](_transcript(found), layout_of(record.request))
        click.echo(printable_text(text), nl=not text.endswith("\n"))
    else:
        click.echo(printable_text(found.text.strip()))


def _write(request: TranscribeRequest, result: JobResult, folder: Path, formats: tuple[str, ...]) -> list[str]:
    """Write the transcript as the fleet would have; raises OutputNotWritable."""
    changes = {"output_path": str(folder.absolute()), "formats": formats or request.formats}
    target = target_of(request.model_copy(update=changes))
    return target.write(_transcript(result)) if target else []


def _transcript(result: JobResult) -> Transcript:
    return Transcript.model_validate(result.model_dump(include=set(Transcript.model_fields)))
