"""Every process of a machine with its command line, see docs/internals/architecture.md. Pure."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from whisper_fleet.deploy.processes.ports import Ports
from whisper_fleet.scheduler.intake.decoding.permits import spare_processes
from whisper_fleet.shared import names
from whisper_fleet.shared.names import Role
from whisper_fleet.shared.settings import Settings

#: The newest tasks that Flower keeps in memory, a few KB each; by default it keeps 100,000.
_SHOWN_TASKS = 10_000
#: Columns of its task list; the arguments name the file.
_TASK_COLUMNS = "name,kwargs,state,received,runtime,worker,uuid"

_CELERY = (sys.executable, "-m", "celery")


@dataclass(frozen=True, kw_only=True)
class Program:
    """A process that the supervisor keeps alive."""

    name: str  # also that of its log file
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    stop_seconds: int = 10  # from SIGTERM to SIGKILL
    #: Sent when the supervisor is killed: Redis still has to write, the others must end at once.
    orphan_signal: str = "SIGKILL"


def redis(server: Path, config: Path) -> Program:
    """Return the program of the embedded Redis."""
    return Program(name="redis", command=(str(server), str(config)), orphan_signal="SIGTERM")


def fleet(
    settings: Settings, *, gpus: Sequence[int], cores: int, ports: Ports, roles: Collection[Role] = frozenset(Role)
) -> list[Program]:
    """Return the programs of these roles, which all use Redis; `gpus` are the indices of the GPUs that get a node.

    A host whose scheduler runs elsewhere gets a program for the ticks of its own GPUs and spool. There is no HTTP
    server without a port for it.
    """
    programs = {
        Role.SCHEDULER: [_beat(settings), _scheduler(settings)],
        Role.INTAKE: [_intake(settings, decoders=settings.decoders or cores)],
        Role.GPU: [_gpu_node(settings, index) for index in gpus],
        Role.HTTP: [] if ports.http is None else [_http(ports.http)],
        Role.FLOWER: [_flower(settings, ports.flower)],
    }
    chosen = [program for role in Role if role in roles for program in programs[role]]
    needs_ticks = Role.SCHEDULER not in roles and not {Role.INTAKE, Role.GPU}.isdisjoint(roles)
    return [*chosen, *([_host(settings)] if needs_ticks else [])]


def by_name(settings: Settings, *, gpus: Sequence[int], cores: int, ports: Ports) -> dict[str, Program]:
    """Return every program that a machine could run, by its name, to start one of them alone."""
    every = [*fleet(settings, gpus=gpus, cores=cores, ports=ports), _host(settings)]
    return {program.name: program for program in every}


def _beat(settings: Settings) -> Program:
    command = (*_celery(settings), "-A", "whisper_fleet.scheduler.app", "beat", "--loglevel", settings.log_level)
    return Program(name="beat", command=command)


def _scheduler(settings: Settings) -> Program:
    """Return the scheduler of the fleet, which also serves the ticks of this host."""
    queues = f"{names.SCHEDULER_QUEUE},{names.scheduler_queue(settings.host)}"
    return _ticks("scheduler", names.scheduler_node(settings.host), queues, settings)


def _host(settings: Settings) -> Program:
    """Return the program for the ticks of this host alone: it resizes the pools of its GPUs and cleans its spool."""
    return _ticks("host", names.host_node(settings.host), names.scheduler_queue(settings.host), settings)


def _ticks(name: str, node: str, queues: str, settings: Settings) -> Program:
    worker = _worker("whisper_fleet.scheduler.app", node, queues, settings)
    return Program(name=name, command=(*worker, "-c", "2", "-I", "whisper_fleet.scheduler.tasks"))


def _intake(settings: Settings, decoders: int) -> Program:
    """Return intake, with processes for long files and some more, so that short files never wait for long ones."""
    processes = decoders + spare_processes(decoders)
    queues = f"{names.TRANSCRIBE_QUEUE},{names.RESUMED_QUEUE},{names.ASSEMBLE_QUEUE}"
    node = _worker("whisper_fleet.scheduler.app", names.intake_node(settings.host), queues, settings)
    return Program(name="intake", command=(*node, "-c", str(processes), "-I", "whisper_fleet.scheduler.intake.tasks"))


def _gpu_node(settings: Settings, index: int) -> Program:
    gpu = names.GpuName(settings.host, index)
    node = _worker("whisper_fleet.workers.app", str(gpu.node()), gpu.queue, settings)
    return Program(
        name=f"gpu{index}",
        command=(*node, "-P", "custom", "-c", "1"),
        environment={
            "CELERY_CUSTOM_WORKER_POOL": "whisper_fleet.workers.pool.celery_pool:SlotPool",
            "WHISPER_FLEET_GPU_INDEX": str(index),
        },
        stop_seconds=int(settings.drain_timeout) + 15,
    )


def _flower(settings: Settings, port: int) -> Program:
    """Return Flower, which also serves the metrics; read-only, because its buttons would bypass the autoscaler."""
    options = (
        f"--address={settings.flower_address}",
        f"--port={port}",
        "--read_only",
        f"--max_tasks={_SHOWN_TASKS}",
        f"--tasks_columns={_TASK_COLUMNS}",
    )
    # Flower's own format is not JSON: without it, the fleet's app logs in its place.
    level = "none" if settings.log_format == "json" else settings.log_level.lower()
    app, logging = "whisper_fleet.scheduler.monitoring.flower_app", f"--logging={level}"
    command = (*_CELERY, "-A", app, "flower", *options, logging)
    return Program(name="flower", command=command, stop_seconds=5)


def _http(port: int) -> Program:
    """Return the HTTP server; it ends the responses that it is sending."""
    return Program(name="http", command=(sys.executable, "-m", "whisper_fleet.http", str(port)), stop_seconds=10)


def _worker(app: str, node: str, queues: str, settings: Settings) -> tuple[str, ...]:
    options = ("-n", node, "-Q", queues, "--without-gossip", "--loglevel", settings.log_level)
    return (*_celery(settings), "-A", app, "worker", *options)


def _celery(settings: Settings) -> tuple[str, ...]:
    """Return Celery's command; without its banner if every line of the log is a JSON object."""
    return (*_CELERY, "--quiet") if settings.log_format == "json" else _CELERY
