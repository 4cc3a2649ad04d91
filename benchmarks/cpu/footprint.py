"""Measure what an hour of audio costs besides a GPU: processor time of intake by format, and memory in Redis.

    python -m benchmarks.cpu.footprint --model base.pt [--parts decode,redis] [--minutes 10]

`decode` counts the processor time of intake's processes and of ffmpeg, so other work on the machine hardly matters.
`redis` transcribes speech with a real model, because what Redis keeps is mostly text.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.cpu.intake import Fleet, fleet
from benchmarks.gpu.fleet.live import LiveFleet, until
from benchmarks.support.media import FORMATS, media
from whisper_fleet.client import FleetClient

_PATIENCE = 3600.0


def decode(running: Fleet, file: Path, hours: float) -> float:
    """Return the processor seconds per hour of audio until all segments of a file wait."""
    before = _processor_seconds(running)
    job = running.submit(file)
    until("the plan", lambda: running.ledger.job(job).duration is not None, _PATIENCE)
    time.sleep(1.0)  # ffmpeg's time is counted once its parent has waited for it
    used = _processor_seconds(running) - before
    running.client.cancel(job)
    return used / hours


def _processor_seconds(running: Fleet) -> float:
    """Return the processor time of intake and of the decoders that it has waited for or that still run."""
    total = 0.0
    for process in running.intake():
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
        total += sum(_seconds_of(child) for child in process.children() if "ffmpeg" in _name(child))
    return total


def _seconds_of(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


def redis_memory(live: LiveFleet, folder: Path, minutes: float) -> tuple[float, float]:
    """Return the bytes that Redis keeps per ended job, and per hour of its audio."""
    short, long = media(folder, "wav", 10 / 3600), media(folder, "wav", minutes / 60)
    with FleetClient(live.settings) as client:
        _ended(client, [short])
        base = _used(live)
        _ended(client, [short] * 20)
        per_job = (_used(live) - base) / 20
        base = _used(live)
        _ended(client, [long] * 2)
        per_hour = ((_used(live) - base) / 2 - per_job) / (minutes / 60)
    return per_job, per_hour


def _ended(client: FleetClient, files: list[Path]) -> None:
    jobs = [client.submit(file_path=str(file), language="en") for file in files]
    for job in jobs:
        client.result(job, timeout=_PATIENCE)
    time.sleep(30.0)  # what Redis keeps until shortly after a job's end


def _used(live: LiveFleet) -> int:
    info: Any = live.redis.info("memory")
    return int(info["used_memory"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a real checkpoint, for the part redis")
    parser.add_argument("--parts", default="decode,redis")
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the long recordings of the part redis")
    parser.add_argument("--hours", type=float, default=1.0, help="length of the files of the part decode")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        folder = directory / "media"
        if "decode" in options.parts:
            with fleet(directory, has_node=False) as running:
                decode(running, media(folder, "wav", 10 / 3600), 10 / 3600)  # once everything is up
                for form in FORMATS:
                    seconds = decode(running, media(folder, form, options.hours), options.hours)
                    print(f"  {form:5} {seconds:5.1f} processor seconds per hour of audio")
        if "redis" in options.parts:
            (directory / "live").mkdir()
            live = LiveFleet(directory / "live", options.model.absolute(), {})
            try:
                live.await_ready(1, 180.0)
                per_job, per_hour = redis_memory(live, folder, options.minutes)
            finally:
                live.stop()
            print(f"  Redis keeps {per_job:.0f} bytes per job and {per_hour:.0f} per hour of audio")


if __name__ == "__main__":
    main()
