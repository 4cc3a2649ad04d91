"""`doctor`: what this machine has for a fleet, what is wrong and how to fix it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import click
from redis import Redis
from redis.exceptions import RedisError

from whisper_fleet.cli.terminal.json_lines import json_option
from whisper_fleet.cli.terminal.printing import Finding, print_findings
from whisper_fleet.deploy.redis.rights import missing_rights
from whisper_fleet.deploy.redis.users import FLEET
from whisper_fleet.scheduler.capacity.devices import Devices, problem_of, read_devices, slots_of
from whisper_fleet.scheduler.capacity.nvml import GpuReading
from whisper_fleet.scheduler.upkeep.acceptance import reported_stall
from whisper_fleet.shared import binaries
from whisper_fleet.shared.embedded_redis import is_embedded, local_settings
from whisper_fleet.shared.errors import FleetError
from whisper_fleet.shared.files.checkpoints import dims_in
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.models import MODELS, canonical
from whisper_fleet.shared.settings import Settings, unknown_names
from whisper_fleet.shared.units import readable_bytes
from whisper_fleet.shared.wire import GpuStatus

#: Ticks of the autoscaler after which a GPU node has had a decision.
_FIRST_DECISION_TICKS = 5


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check this machine: what is wrong and how to fix it; exit code 1 if a fleet cannot run."""
    settings = local_settings()
    findings = [finding for check in _CHECKS for finding in check(settings)]
    print_findings(findings, as_json=as_json)
    if any(finding.kind == "bad" for finding in findings):
        sys.exit(1)


def _names(_: Settings) -> Iterator[Finding]:
    for name in unknown_names():
        yield Finding("note", f"{name} is not a setting and has no effect: see docs/reference/settings.md")


def _folder(settings: Settings) -> Iterator[Finding]:
    """Check that the state directory exists or can be made, and can be written to."""
    var = settings.var_dir.absolute()
    nearest = next(folder for folder in (var, *var.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        fix = "correct that, or choose another folder with WHISPER_FLEET_VAR_DIR"
        yield Finding("bad", f"{nearest} is not a folder that can be written to: {fix}")


def redis_findings(settings: Settings) -> Iterator[Finding]:
    """Check that Redis answers, keeps what it is given, and has the same time as this machine."""
    where = settings.redis_url.rsplit("@", 1)[-1]
    try:
        with Redis.from_url(settings.redis_url, socket_connect_timeout=2.0, socket_timeout=2.0) as redis:
            version = redis.info("server")["redis_version"]
            memory = redis.info("memory")
            persistent = bool(redis.info("persistence")["aof_enabled"])
            seconds, microseconds = cast("tuple[int, int]", redis.time())
            ahead = time.time() - seconds - microseconds / 1e6
            denied = missing_rights(redis, FLEET)
            stalled = reported_stall(redis, time.time())
    except RedisError as error:
        yield from _no_redis(settings, where, error)
        return
    yield Finding("good", f"Redis {version} answers at {where}")
    if denied:
        fix = "load the users that `whisper-fleet redis-acl` prints"
        yield Finding("bad", f"Redis denies the fleet's user {', '.join(denied)}: {fix}")
    if stalled:
        yield Finding("bad", stalled)
    yield from _memory_findings(memory)
    if not persistent:
        yield Finding("note", "Redis forgets all jobs when it stops: set appendonly yes")
    if abs(ahead) > settings.heartbeat_timeout / 2:  # other machines would take its GPUs for dead
        off = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'}"
        yield Finding("bad", f"the clock here is {off} that of Redis' machine: have both follow a time server")


def _memory_findings(memory: Mapping[str, Any]) -> Iterator[Finding]:
    """Check that Redis keeps all that it is given, and has room for more."""
    policy, used, limit = memory["maxmemory_policy"], memory["used_memory"], memory["maxmemory"]
    if policy != "noeviction":
        fix = "set maxmemory-policy noeviction"
        yield Finding("bad", f"Redis may drop jobs (maxmemory-policy is {policy}): {fix}")
    elif 0 < limit <= used:  # 0: no limit
        fix = "raise maxmemory, or keep jobs for a shorter time with WHISPER_FLEET_JOB_RETENTION"
        full = f"{readable_bytes(used)} used, maxmemory is {readable_bytes(limit)}"
        yield Finding("bad", f"Redis is full and accepts no writes ({full}): {fix}")


def _no_redis(settings: Settings, where: str, error: RedisError) -> Iterator[Finding]:
    if not is_embedded(settings):
        fix = "start it, or correct WHISPER_FLEET_REDIS_URL"
        yield Finding("bad", f"Redis does not answer at {where} ({error}): {fix}")
        return
    try:
        yield Finding("good", f"no fleet is up here; `whisper-fleet up` would start {binaries.redis_server()}")
    except FleetError as missing:
        yield Finding("bad", str(missing))


def _ffmpeg(settings: Settings) -> Iterator[Finding]:
    try:
        path = binaries.ffmpeg(settings.ffmpeg)
        version = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=10, check=True)
    except FleetError as error:
        yield Finding("bad", str(error))
    except (OSError, subprocess.SubprocessError) as error:
        yield Finding("bad", f"{path} does not run ({error}): install ffmpeg")
    else:
        yield Finding("good", f"{' '.join(version.stdout.split()[:3])} at {path}")


def device_findings(settings: Settings) -> Iterator[Finding]:
    """Report what this machine computes on, with the slots per device."""
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


def pool_findings(settings: Settings) -> Iterator[Finding]:
    """Check that a process of this host resizes the pools of its GPU nodes; nothing while no node is up."""
    try:
        with Redis.from_url(settings.redis_url, socket_connect_timeout=2.0, socket_timeout=2.0) as redis:
            registry = GpuRegistry(redis)
            now = registry.now()
            ours = [gpu for gpu in registry.gpus(now, settings.heartbeat_timeout) if gpu.host == settings.host]
            old = [gpu for gpu in ours if now - gpu.started > _FIRST_DECISION_TICKS * settings.autoscale_interval]
            alone = [gpu.id for gpu in old if not redis.exists(keys.slot_decision(gpu.id))]
    except RedisError:
        return
    if alone:
        fix = "start `whisper-fleet serve host` here, or a scheduler, and see to it that a beat is up in the fleet"
        yield Finding("bad", f"nothing resizes the pool of {', '.join(alone)}, which keeps its first slots: {fix}")


def _statuses(settings: Settings) -> dict[int, GpuStatus]:
    """Return what this host's nodes report, by GPU index; nothing while no fleet is up."""
    try:
        with Redis.from_url(settings.redis_url, socket_connect_timeout=2.0, socket_timeout=2.0) as redis:
            registry = GpuRegistry(redis)
            alive = registry.gpus(registry.now(), settings.heartbeat_timeout)
    except RedisError:
        return {}
    return {gpu.index: gpu for gpu in alive if gpu.host == settings.host}


def _models(settings: Settings) -> Iterator[Finding]:
    """Report which checkpoints are here and complete."""
    here = [name for name in MODELS if name == canonical(name) and (settings.models / f"{name}.pt").exists()]
    broken = []
    for name in here:
        try:
            dims_in(settings.models / f"{name}.pt")
        except FleetError as error:
            broken.append(name)
            yield Finding("bad", f"{error} Remove it; `whisper-fleet fetch {name}` downloads it again.")
    complete = [name for name in here if name not in broken]
    if complete:
        yield Finding("good", f"models in {settings.models}: {', '.join(complete)}")
    if settings.default_model not in complete:
        fix = f"`whisper-fleet fetch {settings.default_model}` downloads it"
        text = f"the default model {settings.default_model} is not in {settings.models}: {fix}"
        yield Finding("note", text)


_CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _names,
    _folder,
    redis_findings,
    _ffmpeg,
    device_findings,
    pool_findings,
    _models,
)
