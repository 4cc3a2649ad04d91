"""`doctor`: what this machine has for a fleet, what is wrong and how to mend it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import click
from redis import Redis
from redis.exceptions import RedisError
from rich.console import Console
from rich.markup import escape

from whisper_fleet.deploy.processes.state_dir import use_embedded_redis
from whisper_fleet.scheduler.capacity.devices import Devices, problem_of, read_devices, slots_of
from whisper_fleet.scheduler.capacity.nvml import GpuReading
from whisper_fleet.shared import binaries
from whisper_fleet.shared.errors import FleetError
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.models import MODELS, canonical, resolve
from whisper_fleet.shared.settings import Settings, unknown_names
from whisper_fleet.shared.units import readable_bytes
from whisper_fleet.shared.wire import GpuStatus

_MARKS = {"good": "[green]✓[/green]", "note": "[yellow]•[/yellow]", "bad": "[red]✗[/red]"}


@dataclass(frozen=True)
class Finding:
    """One line of the report; only what is bad keeps a fleet from working."""

    kind: str  # good, note or bad
    text: str


@click.command()
def doctor() -> None:
    """Tell what is here, what is wrong and how to mend it; exit code 1 if a fleet cannot run."""
    settings = use_embedded_redis()
    findings = [finding for check in _CHECKS for finding in check(settings)]
    report(findings)
    if any(finding.kind == "bad" for finding in findings):
        sys.exit(1)


def _names(_: Settings) -> Iterator[Finding]:
    for name in unknown_names():
        yield Finding("note", f"{name} is no setting and has no effect: see shared/settings.py")


def _folder(settings: Settings) -> Iterator[Finding]:
    """Whether `var` can be made, or written to."""
    var = settings.var_dir.absolute()
    nearest = next(folder for folder in (var, *var.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        fix = "correct that, or choose another folder with WHISPER_FLEET_VAR_DIR"
        yield Finding("bad", f"{nearest} is no folder that can be written to: {fix}")


def redis_findings(settings: Settings) -> Iterator[Finding]:
    """Whether Redis answers, keeps what it is given, and has the same time as this machine."""
    where = settings.redis_url.rsplit("@", 1)[-1]
    try:
        with Redis.from_url(settings.redis_url, socket_connect_timeout=2.0, socket_timeout=2.0) as redis:
            version = redis.info("server")["redis_version"]
            memory = redis.info("memory")
            persistent = bool(redis.info("persistence")["aof_enabled"])
            seconds, microseconds = cast("tuple[int, int]", redis.time())
            ahead = time.time() - seconds - microseconds / 1e6
    except RedisError as error:
        yield from _no_redis(settings, where, error)
        return
    yield Finding("good", f"Redis {version} answers at {where}")
    yield from _memory_findings(memory)
    if not persistent:
        yield Finding("note", "Redis forgets all jobs when it stops: set appendonly yes")
    if abs(ahead) > settings.heartbeat_timeout / 2:  # to others its GPUs would seem silent
        off = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'}"
        yield Finding("bad", f"the clock here is {off} that of Redis' machine: have both follow a time server")


def _memory_findings(memory: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether Redis keeps all that it is given, and has room for more."""
    policy, used, most = memory["maxmemory_policy"], memory["used_memory"], memory["maxmemory"]
    if policy != "noeviction":
        fix = "set maxmemory-policy noeviction"
        yield Finding("bad", f"Redis may throw jobs away (maxmemory-policy is {policy}): {fix}")
    elif 0 < most <= used:  # 0: as much as there is
        fix = "raise maxmemory, or have jobs forgotten sooner with WHISPER_FLEET_JOB_RETENTION"
        full = f"{readable_bytes(used)} used, maxmemory is {readable_bytes(most)}"
        yield Finding("bad", f"Redis is full and takes nothing in ({full}): {fix}")


def _no_redis(settings: Settings, where: str, error: RedisError) -> Iterator[Finding]:
    if "redis_url" in settings.model_fields_set:
        fix = "start it, or correct WHISPER_FLEET_REDIS_URL"
        yield Finding("bad", f"Redis does not answer at {where} ({error}): {fix}")
        return
    try:
        yield Finding("good", f"no fleet is up here; `make up` would start {binaries.redis_server()}")
    except FleetError as missing:
        yield Finding("bad", str(missing))


def _ffmpeg(settings: Settings) -> Iterator[Finding]:
    try:
        path = binaries.ffmpeg(settings.ffmpeg)
        told = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=10, check=True)
    except FleetError as error:
        yield Finding("bad", str(error))
    except (OSError, subprocess.SubprocessError) as error:
        yield Finding("bad", f"{path} does not run ({error}): install ffmpeg")
    else:
        yield Finding("good", f"{' '.join(told.stdout.split()[:3])} at {path}")


def report(findings: Iterable[Finding]) -> None:
    """Prints a line for each."""
    console = Console()
    for finding in findings:
        console.print(f"{_MARKS[finding.kind]} {escape(finding.text)}", highlight=False, soft_wrap=True)


def device_findings(settings: Settings) -> Iterator[Finding]:
    """What this machine computes on, with the slots of each device."""
    devices = read_devices(settings)
    host = devices.host
    memory = f"{readable_bytes(host.free_bytes)} of {readable_bytes(host.total_bytes)} memory free"
    yield Finding("good", f"{host.cores} cores, {memory}")
    if devices.problem is not None:
        yield Finding("note", f"no GPU ({devices.problem}): Whisper runs on the processor")
    statuses = _statuses(settings)
    for gpu in devices.gpus:
        yield _device(gpu, devices, statuses.get(gpu.index), settings)


def _device(gpu: GpuReading, devices: Devices, status: GpuStatus | None, settings: Settings) -> Finding:
    name = f"{devices.device}:{gpu.index} {gpu.name or 'unknown'}"
    count = slots_of(gpu, devices, status, settings)
    if count is None:
        return Finding("bad", f"{name} cannot be used: {problem_of(gpu, devices, status)}")
    live = "" if status is None else f" ({status.slots} live, {status.busy} busy)"
    return Finding("good" if count.slots else "bad", f"{name}: {count.reason}{live}")


def _statuses(settings: Settings) -> dict[int, GpuStatus]:
    """What this host's nodes report; nothing while no fleet is up."""
    try:
        with Redis.from_url(settings.redis_url, socket_connect_timeout=2.0, socket_timeout=2.0) as redis:
            alive = GpuRegistry(redis).gpus(time.time(), settings.heartbeat_timeout)
    except RedisError:
        return {}
    return {gpu.index: gpu for gpu in alive if gpu.host == settings.host}


def _models(settings: Settings) -> Iterator[Finding]:
    """Which checkpoints are here and whole."""
    here = [name for name in MODELS if name == canonical(name) and (settings.models / f"{name}.pt").exists()]
    torn = []
    for name in here:
        try:
            resolve(str((settings.models / f"{name}.pt").absolute()), settings.models)
        except FleetError as error:
            torn.append(name)
            yield Finding("bad", f"{error} Remove it; `make run MODEL={name}` fetches it anew.")
    whole = [name for name in here if name not in torn]
    if whole:
        yield Finding("good", f"models in {settings.models}: {', '.join(whole)}")
    if settings.default_model not in whole:
        text = f"the default model {settings.default_model} is not in {settings.models}: `make up` fetches it"
        yield Finding("note", text)


_CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _names,
    _folder,
    redis_findings,
    _ffmpeg,
    device_findings,
    _models,
)
