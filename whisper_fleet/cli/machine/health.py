"""`health`: whether one process of the fleet works, as an exit code, for probes and scripts."""

from __future__ import annotations

import sys

import click

from whisper_fleet.cli.machine.serve import PROGRAMS
from whisper_fleet.cli.terminal.printing import Finding, print_findings
from whisper_fleet.shared.embedded_redis import local_settings
from whisper_fleet.shared.process.health import problem_of


@click.command()
@click.argument("program", type=click.Choice(("redis", *PROGRAMS)))
@click.option("--index", type=click.IntRange(min=0), default=0, show_default=True, help="Which GPU, for gpu.")
def health(program: str, index: int) -> None:
    """Check one PROGRAM of this machine: exit code 0 if it works, 1 with the reason if not."""
    problem = problem_of(program, local_settings(), index)
    print_findings([Finding("bad", problem) if problem else Finding("good", f"{program} works")])
    if problem:
        sys.exit(1)
