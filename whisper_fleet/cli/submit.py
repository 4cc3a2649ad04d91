"""`submit`: check the files, send the jobs and, with --wait, show them to their end."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from redis.exceptions import RedisError

from whisper_fleet.cli.connection import connect_client
from whisper_fleet.cli.request_options import keywords, request_options
from whisper_fleet.cli.terminal.watching import watch_to_the_end
from whisper_fleet.shared.audio.sources import is_url
from whisper_fleet.shared.display.text import printable
from whisper_fleet.shared.embedded_redis import local_settings
from whisper_fleet.shared.errors import FileMissing, NotAFile, RequestError
from whisper_fleet.shared.settings import Settings


@click.command()
@click.argument("files", nargs=-1, required=True)
@request_options
@click.option("--no-check", is_flag=True, help="Submit files that are missing here: the fleet's machines have them.")
@click.option("--wait", is_flag=True, help="Show progress and print the transcripts; exit code 1 if a job fails.")
def submit(files: tuple[str, ...], no_check: bool, wait: bool, options: tuple[str, ...], **given: Any) -> None:
    """Submit FILES, which are paths as the fleet's machines see them, or allowed URLs.

    If the fleet's Redis is on this machine, a file that is missing here is an error, unless --no-check is given. With
    a Redis on another machine it is a warning.
    """
    settings = local_settings()
    request = keywords(given, options)
    if request["formats"] and not request["output_path"]:
        raise click.UsageError("--format has no effect without --output-dir: name the directory for the files")
    if not no_check:
        _check(files, settings)
    client = connect_client(settings)
    jobs: dict[str, str] = {}
    try:
        for file in files:
            job = client.submit(file_path=_absolute(file), **request)
            jobs[job] = file
            if not wait:
                click.echo(f"{job}  {printable(file)}")
        succeeded = not wait or watch_to_the_end(client, jobs)
    except (KeyboardInterrupt, RedisError):
        _report_continuing(jobs)
        raise
    if not succeeded:
        sys.exit(1)


def _report_continuing(jobs: Mapping[str, str]) -> None:
    """Print which jobs go on without this command."""
    if jobs:
        how = "`whisper-fleet status` shows them, `whisper-fleet cancel JOB` ends one"
        click.echo(f"\nThe jobs continue ({how}):", err=True)
    for job, file in jobs.items():
        click.echo(f"{job}  {printable(file)}", err=True)


def _check(files: Iterable[str], settings: Settings) -> None:
    """Raise the error of the first local file that is missing, or only warn if the fleet may be elsewhere."""
    for file in files:
        error = _problem_here(file, settings.host)
        if error is None:
            continue
        if is_loopback(settings.redis_url):
            click.echo("Nothing was sent; --no-check sends paths that only the fleet's machines see.", err=True)
            raise error
        click.echo(f"Warning: {printable(error)}", err=True)


def _problem_here(file: str, host: str) -> RequestError | None:
    if is_url(file):
        return None
    path = Path(_absolute(file))
    try:
        if path.is_file():
            return None
        return NotAFile(path=path) if path.exists() else FileMissing(path=path, host=host)
    except ValueError:  # it holds a NUL
        return FileMissing(path=path, host=host)


def is_loopback(url: str) -> bool:
    """Return whether a Redis URL names this machine."""
    host = urlsplit(url).hostname or "localhost"
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _absolute(file: str) -> str:
    return file if is_url(file) else str(Path(file).absolute())
