"""`result`: a transcript, in the form that is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from whisper_fleet.cli.connection import connect, server_options
from whisper_fleet.cli.exit_codes import ExitCode
from whisper_fleet.cli.jobs.writing import transcript_of, write_transcript
from whisper_fleet.cli.terminal.printing import print_warnings, progress_console
from whisper_fleet.scheduler.intake.writers import layout_of
from whisper_fleet.shared.display.text import printable, printable_json, printable_text
from whisper_fleet.shared.errors import JobNotFinished
from whisper_fleet.shared.formats import FORMATS, WRITERS


@click.command()
@click.argument("job")
@server_options
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
        changes = {"output_path": str(output_dir.absolute()), "formats": formats or record.request.formats}
        for file in write_transcript(record.request.model_copy(update=changes), found):
            click.echo(printable(file))
    elif as_json:
        click.echo(printable_json(outcome.data))
    elif formats:
        text = WRITERS[formats[0]](transcript_of(found), layout_of(record.request))
        click.echo(printable_text(text), nl=not text.endswith("\n"))
    else:
        click.echo(printable_text(found.text.strip()))
