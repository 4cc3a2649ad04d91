"""Every process of a machine with its command line, see docs/internals/architecture.md. Pure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from whisper_fleet.shared import names
from whisper_fleet.shared.settings import Settings

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
    settings: Settings,
    *,
    gpus: Sequence[int],
    cores: int,
    beat_schedule: Path,
    flower_port: int,
    http_port: int | None = None,
) -> list[Program]:
    """Return the programs that use Redis: beat, scheduler, intake, a node per GPU index, Flower, the HTTP server.

    There is no HTTP server without a port for it.
    """
    return [
        _beat(settings, beat_schedule),
        _scheduler(settings),
        _intake(settings, processes=max(2, min(cores, 8))),
        *(_gpu_node(settings, index) for index in gpus),
        _flower(settings, flower_port),
        *([] if http_port is None else [_http(http_port)]),
    ]


def _beat(settings: Settings, schedule: Path) -> Program:
    options = ("--schedule", str(schedule), "--loglevel", settings.log_level)
    return Program(name="beat", command=(*_CELERY, "-A", "whisper_fleet.scheduler.app", "beat", *options))


def _scheduler(settings: Settings) -> Program:
    queues = f"{names.SCHEDULER_QUEUE},{names.scheduler_queue(settings.host)}"
    node = _worker("whisper_fleet.scheduler.app", names.scheduler_node(settings.host), queues, settings)
    return Program(name="scheduler", command=(*node, "-c", "2", "-I", "whisper_fleet.scheduler.tasks"))


def _intake(settings: Settings, processes: int) -> Program:
    queues = f"{names.TRANSCRIBE_QUEUE},{names.ASSEMBLE_QUEUE}"
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
    options = (f"--address={settings.flower_address}", f"--port={port}", "--read_only")
    app, logging = "whisper_fleet.scheduler.monitoring.flower_app", f"--logging={settings.log_level.lower()}"
    command = (*_CELERY, "-A", app, "flower", *options, logging)
    return Program(name="flower", command=command, stop_seconds=5)


def _http(port: int) -> Program:
    """Return the HTTP server; it ends the responses that it is sending."""
    return Program(name="http", command=(sys.executable, "-m", "whisper_fleet.http", str(port)), stop_seconds=10)


def _worker(app: str, node: str, queues: str, settings: Settings) -> tuple[str, ...]:
    options = ("-n", node, "-Q", queues, "--without-gossip", "--loglevel", settings.log_level)
    return (*_CELERY, "-A", app, "worker", *options)
