"""`run` and `up`: the whole fleet on this machine, for some files or until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
from redis.exceptions import AuthenticationError
from rich.console import Console

from whisper_fleet.cli.client import JobClient
from whisper_fleet.cli.doctor import redis_findings, report
from whisper_fleet.cli.watching import watch_to_the_end
from whisper_fleet.deploy.processes.state_dir import StateDir, use_embedded_redis
from whisper_fleet.deploy.processes.supervisor import Supervisor, fleet_up
from whisper_fleet.deploy.processes.weights import bring_weights
from whisper_fleet.shared import binaries
from whisper_fleet.shared.connect import UNREACHABLE, connect_fail_fast
from whisper_fleet.shared.errors import SetupError
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.settings import Settings, load_settings
from whisper_fleet.shared.wire import GpuStatus

_READY_SECONDS = 180.0
_LOOK_SECONDS = 0.3
_SAMPLES = Path(__file__).parents[1] / "samples"

model_option = click.option("--model", default="base", show_default=True, help="Whisper model to have ready.")


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@model_option
@click.option("--language", help="Code such as en; left out, it is detected.")
@click.option("--output-dir", type=click.Path(path_type=Path), help="For transcripts; var/output by default.")
def run(files: tuple[Path, ...], model: str, language: str | None, output_dir: Path | None) -> None:
    """Start the fleet, transcribe FILES (else the sample speech), stop the fleet."""
    settings = load_settings()
    console = Console()
    files = files or tuple(sorted(_SAMPLES.glob("*.wav")))
    if not files:
        raise click.UsageError("the sample speech is not here: name the files to transcribe")
    _prepare(model, settings)
    asked = {"model_name": model, "language": language}
    with fleet_up(settings) as front:
        _wait_until_ready(front, console)
        client = JobClient(use_embedded_redis())
        folders = _folders(files, (output_dir or front.home.output).absolute())
        jobs = {
            client.submit(file_path=str(file.absolute()), output_path=str(folder), **asked): file.name
            for file, folder in zip(files, folders, strict=True)
        }
        succeeded = watch_to_the_end(client, jobs, console)
    if not succeeded:
        sys.exit(1)


@click.command()
@model_option
def up(model: str) -> None:
    """Start the fleet and keep it up until Ctrl-C."""
    settings = load_settings()
    console = Console()
    _prepare(model, settings)
    with fleet_up(settings) as front:
        gpus = _wait_until_ready(front, console)
        if not front.is_embedded:  # nobody but its keeper has set it up
            report(finding for finding in redis_findings(settings) if finding.kind != "good")
        for gpu in gpus:
            console.print(f"[green]●[/green] {gpu.id}  {gpu.name}  {gpu.node}")
        console.print(f"Flower   {front.flower_url}")
        console.print(f"Metrics  {front.flower_url}/metrics     (for Prometheus)")
        console.print(f"Redis    {front.redis_url}", soft_wrap=True)
        console.print(f"Logs     {front.home.logs}", soft_wrap=True)
        console.print("Submit   whisper-fleet submit FILE... --wait     (here, in another terminal)")
        console.print("Stop     Ctrl-C")
        signal.pause()


def _folders(files: Sequence[Path], output: Path) -> list[Path]:
    """Where each file's transcript goes: files of one stem would write over each other's."""
    stems = [file.stem for file in files]
    return [output if stems.count(stem) == 1 else output / str(number) for number, stem in enumerate(stems, 1)]


def _prepare(model: str, settings: Settings) -> None:
    """What a fleet cannot do without, before anything is started."""
    binaries.ffmpeg(settings.ffmpeg)
    bring_weights(model, settings)


def _wait_until_ready(front: Supervisor, console: Console) -> list[GpuStatus]:
    """This machine's GPUs that take work, once there is one; SetupError with the log's last words if none comes."""
    since, deadline = time.time(), time.monotonic() + _READY_SECONDS
    redis_answers = False
    settings = load_settings()
    with connect_fail_fast(front.redis_url) as redis, console.status("Starting the fleet"):
        while time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
            try:
                gpus = GpuRegistry(redis).gpus(time.time(), settings.heartbeat_timeout)
            except AuthenticationError:  # no Redis that is away
                raise
            except UNREACHABLE:
                continue
            redis_answers = True
            ready = _ready_here(gpus, settings.host, since)
            if ready:
                return ready
    missing = "a GPU node that is ready" if redis_answers else "a Redis that answers"
    raise SetupError(what=missing, fix=_last_words(front.home, redis_answers))


def _ready_here(gpus: Sequence[GpuStatus], host: str, since: float) -> list[GpuStatus]:
    """Those of this machine that said so since it was started: of a fleet of several, others are up long before."""
    return [gpu for gpu in gpus if gpu.host == host and gpu.ready and gpu.heartbeat > since]


def _last_words(home: StateDir, redis_answers: bool) -> str:
    """The end of the log of the embedded Redis, if that is what did not come up, else of a node's."""
    is_embedded = home.redis_url.exists()
    logs = sorted(home.logs.glob("redis.log" if is_embedded and not redis_answers else "gpu*.log"))
    if not logs:
        return f"see {home.logs / 'supervisord.log'}"
    lines = logs[0].read_text(errors="replace").splitlines()[-15:]
    return "\n".join([f"see {logs[0]}, which ends with", *lines])
