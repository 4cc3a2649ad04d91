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
from rich.text import Text

from whisper_fleet.cli.connection import connect_client
from whisper_fleet.cli.doctor import redis_findings
from whisper_fleet.cli.terminal.printing import print_findings, progress_console, results_console
from whisper_fleet.cli.terminal.watching import watch_to_the_end
from whisper_fleet.deploy.processes.state_dir import StateDir
from whisper_fleet.deploy.processes.supervisor import Supervisor, running_fleet
from whisper_fleet.deploy.processes.weights import bring_weights
from whisper_fleet.shared import binaries
from whisper_fleet.shared.connect import UNREACHABLE, connect_fail_fast
from whisper_fleet.shared.display.text import printable
from whisper_fleet.shared.errors import SetupError
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.settings import Settings, load_settings
from whisper_fleet.shared.wire import GpuStatus

_READY_SECONDS = 180.0
_POLL_SECONDS = 0.3
_LOG_LINES = 15
_SAMPLES = Path(__file__).parents[1] / "samples"

model_option = click.option("--model", default="base", show_default=True, help="Whisper model to have ready.")


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@model_option
@click.option("--language", help="Code such as en; detected if left out.")
@click.option("--output-dir", type=click.Path(path_type=Path), help="For transcripts; var/output by default.")
def run(files: tuple[Path, ...], model: str, language: str | None, output_dir: Path | None) -> None:
    """Start the fleet, transcribe FILES (or the sample speech), stop the fleet."""
    settings = load_settings()
    files = files or tuple(sorted(_SAMPLES.glob("*.wav")))
    if not files:
        raise click.UsageError("the sample speech is not installed: name the files to transcribe")
    _prepare(model, settings)
    request = {"model_name": model, "language": language}
    with running_fleet(settings) as supervisor:
        _wait_until_ready(supervisor)
        client = connect_client(supervisor.settings)
        folders = _output_folders(files, (output_dir or supervisor.state.output).absolute())
        jobs = {
            client.submit(file_path=str(file.absolute()), output_path=str(folder), **request): file.name
            for file, folder in zip(files, folders, strict=True)
        }
        succeeded = watch_to_the_end(client, jobs)
    if not succeeded:
        sys.exit(1)


@click.command()
@model_option
def up(model: str) -> None:
    """Start the fleet and keep it up until Ctrl-C."""
    settings = load_settings()
    console = results_console()
    _prepare(model, settings)
    with running_fleet(settings) as supervisor:
        gpus = _wait_until_ready(supervisor)
        if not supervisor.is_embedded:  # the embedded Redis is configured as it should be
            print_findings(finding for finding in redis_findings(settings) if finding.kind != "good")
        for gpu in gpus:
            console.print(Text.assemble(("●", "green"), printable(f" {gpu.id}  {gpu.name}  {gpu.node}")))
        _print_http(console, supervisor.http_url)
        console.print(f"Flower   {supervisor.flower_url}")
        console.print(f"Metrics  {supervisor.flower_url}/metrics     (for Prometheus)")
        console.print(f"Redis    {supervisor.settings.redis_url}", soft_wrap=True)
        console.print(f"Logs     {supervisor.state.logs}", soft_wrap=True)
        console.print("Submit   whisper-fleet submit FILE... --wait     (in another terminal)")
        console.print("Stop     Ctrl-C")
        signal.pause()


def _print_http(console: Console, url: str | None) -> None:
    """Print the address of the HTTP server, and a command that transcribes a sample with it."""
    if url is None:
        console.print("HTTP     not installed: pip install 'whisper-fleet[http]'", markup=False)
        return
    console.print(f"HTTP     {url}     (OpenAI's audio API)")
    sample = next(iter(sorted(_SAMPLES.glob("*.wav"))), Path("talk.mp3"))
    console.print(f"Try      curl {url}/v1/audio/transcriptions -F file=@{sample} -F model=whisper-1", soft_wrap=True)


def _output_folders(files: Sequence[Path], output: Path) -> list[Path]:
    """Return the output folder per file: files with the same stem get numbered folders, so as not to collide."""
    stems = [file.stem for file in files]
    return [output if stems.count(stem) == 1 else output / str(number) for number, stem in enumerate(stems, 1)]


def _prepare(model: str, settings: Settings) -> None:
    """Make sure of what a fleet cannot do without, before anything is started."""
    binaries.ffmpeg(settings.ffmpeg)
    bring_weights(model, settings)


def _wait_until_ready(supervisor: Supervisor) -> list[GpuStatus]:
    """Return this machine's ready GPUs as soon as there is one; SetupError with the end of a log if none comes."""
    since, deadline = time.time(), time.monotonic() + _READY_SECONDS
    redis_answers = False
    settings = supervisor.settings
    with connect_fail_fast(settings.redis_url) as redis, progress_console().status("Starting the fleet"):
        registry = GpuRegistry(redis)
        while time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            try:
                gpus = registry.gpus(time.time(), settings.heartbeat_timeout)
            except AuthenticationError:  # a subclass of ConnectionError that waiting does not fix
                raise
            except UNREACHABLE:
                continue
            redis_answers = True
            ready = _ready_here(gpus, settings.host, since)
            if ready:
                return ready
    missing = "a GPU node that is ready" if redis_answers else "a Redis that answers"
    # Not by fields, which make up one line: the end of a log has many.
    raise SetupError(f"{missing} is missing: {_end_of_log(supervisor.state, redis_answers)}.")


def _ready_here(gpus: Sequence[GpuStatus], host: str, since: float) -> list[GpuStatus]:
    """Return this host's GPUs that reported ready after start-up; other hosts may have been ready before."""
    return [gpu for gpu in gpus if gpu.host == host and gpu.ready and gpu.heartbeat > since]


def _end_of_log(state: StateDir, redis_answers: bool) -> str:
    """Return the last lines of the embedded Redis' log, if that did not come up, else of a node's."""
    is_embedded = state.redis_url.exists()
    logs = sorted(state.logs.glob("redis.log" if is_embedded and not redis_answers else "gpu*.log"))
    if not logs:
        return f"see {state.logs / 'supervisord.log'}"
    lines = logs[0].read_text(errors="replace").splitlines()[-_LOG_LINES:]
    return "\n".join([f"see {logs[0]}, which ends with", *lines])
