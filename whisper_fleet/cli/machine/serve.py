"""`serve`: one process of the fleet in the foreground, for systemd, containers and debugging."""

from __future__ import annotations

import os

import click
import psutil

from whisper_fleet.deploy.processes import programs
from whisper_fleet.deploy.processes.ports import choose_ports
from whisper_fleet.shared.embedded_redis import local_settings
from whisper_fleet.shared.errors import SetupError
from whisper_fleet.shared.names import Role

PROGRAMS = ("scheduler", "beat", "host", "intake", "gpu", "http", "flower")


@click.command()
@click.argument("program", type=click.Choice(PROGRAMS))
@click.option("--index", type=click.IntRange(min=0), default=0, show_default=True, help="Which GPU, for gpu.")
def serve(program: str, index: int) -> None:
    """Run one PROGRAM of the fleet in the foreground; it logs to standard error and ends with SIGTERM.

    The programs of a fleet: one scheduler and one beat at least, intake, a gpu per GPU, and a host on each machine
    that has GPUs or intake but no scheduler. Flower is optional.
    """
    settings = local_settings()
    known = programs.by_name(
        settings,
        gpus=[index],
        cores=psutil.cpu_count(logical=False) or 1,
        ports=choose_ports(settings, {Role(program)} if program in ("http", "flower") else ()),
    )
    chosen = known.get(f"gpu{index}" if program == "gpu" else program)
    if chosen is None:
        raise SetupError(what=f"what {program} needs", fix="pip install 'whisper-fleet[http]'")
    environment = {**os.environ, **chosen.environment, "WHISPER_FLEET_REDIS_URL": settings.redis_url}
    os.execve(chosen.command[0], chosen.command, environment)  # a fixed command line, no shell
