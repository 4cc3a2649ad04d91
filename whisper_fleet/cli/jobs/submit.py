"""`submit`: find the files, check them, send the jobs and, with --wait, show them to their end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from whisper_fleet.cli.connection import Connection, chosen_server, connect, server_options
from whisper_fleet.cli.exit_codes import ExitCode
from whisper_fleet.cli.jobs.inputs import Input, expand, has_output, output_of, problem_with, read_list
from whisper_fleet.cli.jobs.request_options import keywords, request_options
from whisper_fleet.cli.jobs.waiting import continuing, wait_for
from whisper_fleet.cli.jobs.watching import job_of, new_files
from whisper_fleet.cli.jobs.writing import output_request, with_files
from whisper_fleet.cli.terminal.json_lines import json_option, print_line
from whisper_fleet.outcome import Outcome
from whisper_fleet.shared.audio.sources import is_url
from whisper_fleet.shared.display.text import printable
from whisper_fleet.shared.embedded_redis import local_settings
from whisper_fleet.shared.files.buckets import is_bucket
from whisper_fleet.shared.wire import TranscribeRequest


@dataclass(frozen=True, kw_only=True)
class _Order:
    """What the options ask for, for every input."""

    request: dict[str, Any]
    output_dir: str | None
    next_to_input: bool
    skip_existing: bool
    no_check: bool
    as_json: bool
    writes_here: bool  # the transcripts, because the fleet does not see this machine's directories

    def request_of(self, item: Input) -> dict[str, Any]:
        if self.writes_here:
            return {**self.request, "file_path": item.file, "output_path": None, "formats": None}
        return {**self.request, "file_path": item.file, "output_path": self._output_of(item)}

    def files_of(self, item: Input) -> TranscribeRequest | None:
        """Return the request whose files this machine is to write when the job has ended; None for none."""
        output = self._output_of(item) if self.writes_here else None
        return None if output is None else output_request(item.file, output, self.request)

    def _output_of(self, item: Input) -> str | None:
        return output_of(item, self.output_dir, next_to_input=self.next_to_input)

    def is_done(self, item: Input) -> bool:
        """Return whether an input is to be skipped, because its transcripts are there."""
        output = self._output_of(item)
        return self.skip_existing and output is not None and has_output(item, output, self.request["formats"] or ())


def _submit_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(
        (
            click.option(
                "--from-file", metavar="LIST", help="Also the files that LIST names, one per line; - is stdin."
            ),
            click.option(
                "--watch",
                type=click.Path(exists=True, file_okay=False, path_type=Path),
                metavar="DIR",
                help="Also each file that appears below DIR, once it is complete, until Ctrl-C.",
            ),
            click.option(
                "--next-to-input", is_flag=True, help="Write the transcripts into the directory of each file."
            ),
            click.option("--skip-existing", is_flag=True, help="Leave out files whose transcripts exist already."),
            click.option("--no-check", is_flag=True, help="Submit files that are missing here: the fleet has them."),
            click.option("--wait", is_flag=True, help="Show progress and print the transcripts."),
        )
    ):
        command = option(command)
    return command


@click.command()
@click.argument("files", nargs=-1)
@server_options
@request_options
@_submit_options
@json_option
def submit(
    files: tuple[str, ...],
    options: tuple[str, ...],
    from_file: str | None,
    watch: Path | None,
    next_to_input: bool,
    skip_existing: bool,
    no_check: bool,
    wait: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Submit FILES: audio or video files, directories, patterns such as 'talks/*.mp3', or allowed URLs.

    Paths are those that the fleet's machines see. If the fleet runs on this machine, a file that is missing here is an
    error, unless --no-check is given. With a fleet elsewhere it is a warning.

    With --server, FILES are uploaded from this machine, which also writes the transcripts.
    """
    named = [*files, *(read_list(from_file) if from_file else [])]
    _check_usage(named, given, watch, next_to_input=next_to_input, skip_existing=skip_existing, wait=wait)
    writes_here = _check_output(given["output_path"], next_to_input=next_to_input, wait=wait)
    order = _Order(
        request=keywords(given, options),
        output_dir=given["output_path"],
        next_to_input=next_to_input,
        skip_existing=skip_existing,
        no_check=no_check,
        as_json=as_json,
        writes_here=writes_here,
    )
    inputs = list(expand(named))
    with connect() as fleet:
        if not no_check:
            _check(inputs, fleet)
        jobs, outputs = dict[str, str](), dict[str, TranscribeRequest]()
        with continuing(jobs):
            _submit_all(fleet, inputs, order, jobs, outputs, shows=not wait)
            if watch is not None:
                _submit_new(fleet, watch, order)
            code = _wait(fleet, jobs, outputs, as_json=as_json) if wait else ExitCode.DONE
    sys.exit(code)


def _wait(fleet: Connection, jobs: dict[str, str], outputs: dict[str, TranscribeRequest], *, as_json: bool) -> ExitCode:
    def written(job: str, outcome: Outcome) -> Outcome:
        return with_files(outputs[job], outcome) if job in outputs else outcome

    return wait_for(fleet.jobs, jobs, as_json=as_json, written=written)


def _check_output(output_dir: str | None, *, next_to_input: bool, wait: bool) -> bool:
    """Return whether this machine writes the transcripts; raises UsageError if it would not be there to do so."""
    if chosen_server() is None or (output_dir is not None and is_bucket(output_dir)):
        return False
    if (next_to_input or output_dir is not None) and not wait:
        how = "add --wait, or use `whisper-fleet result JOB --output-dir DIR` later"
        raise click.UsageError(f"with --server, this machine writes the transcripts when the jobs have ended: {how}")
    return True


def _check_usage(
    named: Sequence[str],
    given: dict[str, Any],
    watch: Path | None,
    *,
    next_to_input: bool,
    skip_existing: bool,
    wait: bool,
) -> None:
    """Raise UsageError for options that contradict each other or would have no effect."""
    has_output = next_to_input or given["output_path"] is not None
    if not named and watch is None:
        raise click.UsageError("name the files to transcribe: FILES, --from-file LIST, or --watch DIR")
    if next_to_input and given["output_path"] is not None:
        raise click.UsageError("--next-to-input and --output-dir name different places: choose one")
    if given["formats"] and not has_output:
        raise click.UsageError("--format has no effect without --output-dir or --next-to-input")
    if skip_existing and not has_output:
        raise click.UsageError("--skip-existing looks for transcripts: say where, with --output-dir or --next-to-input")
    if next_to_input and any(map(is_url, named)):
        raise click.UsageError("a URL has no directory for --next-to-input: use --output-dir")
    if wait and watch is not None:
        raise click.UsageError("--watch ends only by Ctrl-C, so --wait would never begin")


def _submit_all(
    fleet: Connection,
    inputs: Iterable[Input],
    order: _Order,
    jobs: dict[str, str],
    outputs: dict[str, TranscribeRequest],
    *,
    shows: bool,
) -> None:
    """Submit inputs, and enter each job (id -> file, and what is to be written here) as soon as the fleet has it."""
    skipped = 0
    for item in inputs:
        if order.is_done(item):
            skipped += 1
            continue
        job = fleet.jobs.submit(**order.request_of(item))
        jobs[job] = item.file
        if (output := order.files_of(item)) is not None:
            outputs[job] = output
        if shows:
            _show(job, item, order)
    if skipped:
        click.echo(f"Skipped {skipped} files whose transcripts exist.", err=True)


def _submit_new(fleet: Connection, directory: Path, order: _Order) -> None:
    """Submit what appears below a directory, without an end."""
    for path, stamp in new_files(directory):
        item = Input(file=str(path), folder=path.parent.relative_to(directory.absolute()))
        if not order.is_done(item):
            request = order.request_of(item)
            _show(fleet.jobs.submit(job=job_of(stamp, request), **request), item, order)


def _show(job: str, item: Input, order: _Order) -> None:
    if order.as_json:
        print_line({"job": job, "file": item.file})
    else:
        click.echo(f"{job}  {printable(item.file)}")


def _check(inputs: Iterable[Input], fleet: Connection) -> None:
    """Raise the error of the first local file that is missing, or only warn if the fleet may be elsewhere."""
    host = local_settings().host
    for item in inputs:
        error = problem_with(item, host)
        if error is None:
            continue
        if fleet.sees_our_files:
            click.echo("Nothing was sent; --no-check sends paths that only the fleet's machines see.", err=True)
            raise error
        click.echo(f"Warning: {printable(error)}", err=True)
