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
from whisper_fleet.cli.extras import missing_extras
from whisper_fleet.cli.jobs.waiting import wait_for
from whisper_fleet.cli.machine.doctor import redis_findings
from whisper_fleet.cli.terminal.printing import print_findings, progress_console, results_console
from whisper_fleet.deploy.processes.state_dir import StateDir
from whisper_fleet.deploy.processes.supervisor import Supervisor, running_fleet
from whisper_fleet.deploy.processes.weights import bring_weights
from whisper_fleet.shared import binaries
from whisper_fleet.shared.connect import UNREACHABLE, connect_fail_fast
from whisper_fleet.shared.display.text import printable
from whisper_fleet.shared.errors import SetupError
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.names import Role
from whisper_fleet.shared.process.health import problem_of
from whisper_fleet.shared.process.probes import start_probes
from whisper_fleet.shared.process.program import split_index
from whisper_fleet.shared.process.record import request_reload
from whisper_fleet.shared.process.reload import has_terminal
from whisper_fleet.shared.settings import Settings, load_settings
from whisper_fleet.shared.wire import GpuStatus

_READY_SECONDS = 180.0
_POLL_SECONDS = 0.3
_LOG_LINES = 15
_SAMPLES = Path(__file__).parents[2] / "samples"

model_option = click.option("--model", default="base", show_default=True, help="Whisper model to have ready.")


class _Roles(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A list of roles with commas."""

    name = "ROLE,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Role, ...]:
        """Return the roles; a name that is not a role is a usage error."""
        try:
            return tuple(Role(name.strip()) for name in str(value).split(","))
        except ValueError as error:
            self.fail(f"{error}: the roles are {', '.join(Role)}", param, ctx)


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
        code = wait_for(client, jobs)
    sys.exit(code)


@click.command()
@model_option
@click.option("--roles", type=_Roles(), help="Such as intake,flower; by default everything the machine can do.")
def up(model: str, roles: tuple[Role, ...] | None) -> None:
    """Start the fleet, or some of its roles on this machine, and keep it up until Ctrl-C."""
    settings = load_settings()
    if roles is not None:
        settings = settings.model_copy(update={"roles": roles})
    console = results_console()
    _prepare(model, settings)
    with running_fleet(settings) as supervisor:
        gpus = _wait_until_ready(supervisor)
        if not supervisor.is_embedded:  # the embedded Redis is configured as it should be
            print_findings(finding for finding in redis_findings(settings) if finding.kind != "good")
        for gpu in gpus:
            console.print(Text.assemble(("●", "green"), printable(f" {gpu.id}  {gpu.name}  {gpu.node}")))
        if supervisor.roles != frozenset(Role):
            console.print(f"Roles    {', '.join(role for role in Role if role in supervisor.roles)}")
        if Role.HTTP in supervisor.roles:
            _print_http(console, supervisor.http_url)
        if Role.FLOWER in supervisor.roles:
            console.print(f"Flower   {supervisor.flower_url}")
            console.print(f"Metrics  {supervisor.flower_url}/metrics     (for Prometheus)")
        console.print(f"Redis    {supervisor.settings.redis_url}", soft_wrap=True)
        console.print(f"Logs     {supervisor.state.logs}", soft_wrap=True)
        console.print("Submit   whisper-fleet submit FILE... --wait     (in another terminal)")
        console.print("Stop     Ctrl-C")
        _pass_on_reloads(supervisor)
        start_probes(supervisor.settings, lambda: supervisor.is_running, lambda: _first_problem(supervisor))
        while True:
            signal.pause()


def _first_problem(supervisor: Supervisor) -> str | None:
    """Return why a program of this machine does not work; None if all do."""
    programs = map(split_index, supervisor.programs)
    problems = (problem_of(program, supervisor.probed_settings, index) for program, index in programs)
    return next(filter(None, problems), None)


def _pass_on_reloads(supervisor: Supervisor) -> None:
    """Send a SIGHUP on to the processes from now on, unless it means that the terminal was closed."""
    if not has_terminal():
        signal.signal(signal.SIGHUP, lambda *_: request_reload(supervisor.state.run))


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
    """Make sure of what this machine's roles cannot do without, before anything is started."""
    roles = settings.roles or tuple(Role)
    if Role.INTAKE in roles or Role.GPU in roles:
        binaries.ffmpeg(settings.ffmpeg)
    if Role.GPU in roles:
        if missing := missing_extras(("gpu",)):
            extra = f"pip install 'whisper-fleet[{','.join(missing)}]'"
            raise SetupError(what="what the role gpu needs", fix=f"{extra}, or leave that role to other machines")
        bring_weights(model, settings)


def _wait_until_ready(supervisor: Supervisor) -> list[GpuStatus]:
    """Wait until this machine's roles work; return its ready GPUs. SetupError with the end of a log if they do not."""
    if Role.GPU in supervisor.roles:
        return _wait_for_gpu(supervisor)
    with progress_console().status("Starting the fleet"):
        for program in supervisor.programs:
            _wait_for_program(program, supervisor)
    return []


def _wait_for_program(program: str, supervisor: Supervisor) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while (problem := problem_of(program, supervisor.probed_settings)) is not None:
        if time.monotonic() > deadline:
            raise SetupError(f"{problem}: {_end_of_log(supervisor.state.logs / f'{program}.log')}.")
        time.sleep(_POLL_SECONDS)


def _wait_for_gpu(supervisor: Supervisor) -> list[GpuStatus]:
    deadline = time.monotonic() + _READY_SECONDS
    since: float | None = None  # when Redis first answered; its clock is that of heartbeats
    settings = supervisor.settings
    with connect_fail_fast(settings.redis_url) as redis, progress_console().status("Starting the fleet"):
        registry = GpuRegistry(redis)
        while time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            try:
                gpus = registry.gpus(registry.now(), settings.heartbeat_timeout)
            except AuthenticationError:  # a subclass of ConnectionError that waiting does not fix
                raise
            except UNREACHABLE:
                continue
            since = registry.now() if since is None else since
            ready = _ready_here(gpus, settings.host, since)
            if ready:
                return ready
    missing = "a GPU node that is ready" if since is not None else "a Redis that answers"
    # Not by fields, which make up one line: the end of a log has many.
    raise SetupError(f"{missing} is missing: {_end_of_log(_telling_log(supervisor.state, since is not None))}.")


def _ready_here(gpus: Sequence[GpuStatus], host: str, since: float) -> list[GpuStatus]:
    """Return this host's GPUs that reported ready after start-up; other hosts may have been ready before."""
    return [gpu for gpu in gpus if gpu.host == host and gpu.ready and gpu.heartbeat > since]


def _telling_log(state: StateDir, redis_answers: bool) -> Path:
    """Return the log of the embedded Redis, if that did not come up, else of a node."""
    is_embedded = state.redis_url.exists()
    logs = sorted(state.logs.glob("redis.log" if is_embedded and not redis_answers else "gpu*.log"))
    return logs[0] if logs else state.logs / "supervisord.log"


def _end_of_log(log: Path) -> str:
    """Return the name of a log with its last lines, if it has any."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    except OSError:
        return f"see {log.parent / 'supervisord.log'}"
    return "\n".join([f"see {log}, which ends with", *lines])
