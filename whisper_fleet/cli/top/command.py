"""The command `top`: on a terminal the full screen, otherwise one snapshot as plain lines."""

from __future__ import annotations

import sys
import time
from contextlib import suppress

import click

from whisper_fleet.cli.connection import connect_client, connect_redis
from whisper_fleet.cli.terminal.printing import results_console
from whisper_fleet.cli.top.reading import TopReader
from whisper_fleet.cli.top.rendering import render
from whisper_fleet.cli.top.screen import show
from whisper_fleet.cli.top.view import View
from whisper_fleet.errors import JobNotFound
from whisper_fleet.shared.embedded_redis import local_settings

#: Columns where there is no terminal, unless COLUMNS says otherwise.
_PIPE_WIDTH = 120


@click.command()
@click.option(
    "--interval", default=1.0, show_default=True, type=click.FloatRange(0.2), help="Seconds between two refreshes."
)
def top(interval: float) -> None:
    """Watch the fleet: GPUs, backlog, running jobs with their text, failures.

    Keys: q quits, s changes the order, / filters, arrows select a job, c cancels it. In a pipe it prints once.
    """
    settings = local_settings()
    console = results_console()
    with connect_client(settings) as client, connect_redis(settings) as redis:
        reader = TopReader(client, redis, settings)
        if not (console.is_terminal and sys.stdin.isatty()):
            width = console.width if console.is_terminal else _PIPE_WIDTH
            for line in render(reader.read(time.time()), View(), width):
                click.echo(line.plain.rstrip())
            return

        def cancel(job: str) -> None:
            with suppress(JobNotFound):
                client.cancel(job)

        show(lambda: reader.read(time.time()), cancel, console, interval)
