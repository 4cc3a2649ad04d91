"""Measure how fast intake turns files into waiting segments: first segment, decoding rate, backlog, urgent clips.

    python -m benchmarks.cpu.intake [--parts first,rate,backlog] [--hours 3] [--files 1000] [--without-node]

With `--without-node`, only intake runs, and what is measured is when segments wait for a GPU.

Real intake, scheduler and node; the engine is a stand-in that answers a window after a fixed time, so that what is
left of a clip's time is the fleet's own. `rate` compares with as many ffmpeg processes as there are cores, in the same
run. Files are made once, in DIR if it is given.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.support import stand_in_app
from benchmarks.support.media import FORMATS, media
from benchmarks.support.processes import HOST, node_and_scheduler, nodes, redis_server
from whisper_fleet.client import FleetClient
from whisper_fleet.deploy.processes import programs
from whisper_fleet.deploy.processes.ports import Ports
from whisper_fleet.shared import binaries
from whisper_fleet.shared.connect import connect
from whisper_fleet.shared.host import read_host
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.settings import Settings

#: Of the stand-in: with 8 slots that is 480 times realtime.
_WINDOW_SECONDS = 0.5
_SLOTS = 8
_OPTIONS: dict[str, Any] = {"model_name": "base", "language": "en", "temperature": 0.0, "without_timestamps": True}


@dataclass(frozen=True)
class Fleet:
    """A running fleet with a client."""

    client: FleetClient
    ledger: Ledger
    settings: Settings
    has_node: bool

    def first_moment(self, record: JobRecord) -> float | None:
        """Return when a job's first segment ran; without a node, when it began to wait."""
        return record.started if self.has_node else record.planned

    def submit(self, file: Path, **fields: Any) -> str:
        return self.client.submit(file_path=str(file), **{**_OPTIONS, **fields})

    def intake(self) -> list[psutil.Process]:
        """Return the processes of intake, without ffmpeg."""
        python = [one for one in psutil.process_iter(["cmdline"]) if "intake@" in " ".join(one.info["cmdline"] or [])]
        return [one for one in python if HOST in " ".join(one.info["cmdline"])]

    def memory(self) -> float:
        """Return the MB that intake and its decoders hold, shared pages counted once."""
        total = 0
        for process in self.intake():
            for one in [process, *process.children()]:
                try:
                    total += one.memory_full_info().uss
                except psutil.NoSuchProcess:
                    continue
        return total / 2**20

    def spooled(self) -> float:
        """Return the MB in the spool."""
        spool = self.settings.spool.absolute()
        return sum(_size(file) for file in spool.glob("*/*.s16le")) / 2**20


@contextmanager
def fleet(directory: Path, *, has_node: bool, **settings: object) -> Iterator[Fleet]:
    """Run intake and, with a node, also beat, scheduler and the node with the stand-in."""
    with ExitStack() as stack:
        url = stack.enter_context(redis_server(directory))
        own = {"var_dir": directory / "var", "device": "cpu", "heartbeat_interval": 1.0, **settings}
        known = Settings(redis_url=url, host=HOST, **own)  # type: ignore[arg-type]
        programs_by_name = programs.by_name(known, gpus=[0], cores=read_host().cores, ports=Ports(flower=0))
        commands = [programs_by_name[name].command[3:] for name in ("intake", "beat") if has_node or name == "intake"]
        node = node_and_scheduler("benchmarks.support.stand_in_app", _SLOTS, schedulers=1) if has_node else []
        workers = [*node, *commands]
        stack.enter_context(nodes(url, workers, directory, **own))
        redis = connect(url)
        while has_node and not any(gpu.ready for gpu in GpuRegistry(redis).gpus(time.time(), 5.0)):
            time.sleep(0.1)
        client = stack.enter_context(FleetClient(known))
        yield Fleet(client, Ledger(redis, Settings(max_attempts=3, job_retention=3600.0)), known, has_node)


def first(running: Fleet, file: Path, *, to_end: bool) -> None:
    """Print when the first segment of a file runs, when its plan is complete, and when its job is done."""
    alone = decode_seconds([file])
    began = looked = time.time()
    most, job = 0.0, running.submit(file)
    started = planned = None
    while planned is None or started is None:
        record = running.ledger.job(job)
        started = started or (running.first_moment(record) and time.time() - began)
        planned = planned or (record.duration and time.time() - began)
        if time.time() - looked > 1.0:
            most, looked = max(most, running.memory()), time.time()
        time.sleep(0.01)
    done = "cancelled"
    if to_end:
        running.client.result(job, timeout=3600)
        done = f"done after {time.time() - began:.2f} s"
    else:
        running.client.cancel(job)
    complete = f"plan complete after {planned:5.2f} s (ffmpeg alone {alone:5.2f} s)"
    print(f"  {file.name:10} first segment after {started:5.2f} s, {complete}, {done}; intake {most:.0f} MB")


def rate(running: Fleet, file: Path, hours: float, count: int) -> None:
    """Print the rate of decoding `count` files at once, next to that of ffmpeg with nothing else running."""
    alone = decode_seconds([file] * count)
    began = time.time()
    jobs = [running.submit(file) for _ in range(count)]
    while any(running.ledger.job(job).duration is None for job in jobs):
        time.sleep(0.05)
    took = time.time() - began
    for job in jobs:
        running.client.cancel(job)
    audio = count * hours * 3600
    rates = f"{audio / took:6.0f} times realtime; ffmpeg alone {audio / alone:6.0f}: {alone / took:.0%}"
    print(f"  {file.suffix[1:]:5} {rates}")


def decode_seconds(files: Sequence[Path]) -> float:
    """Return how long ffmpeg takes for these files, as many at a time as there are cores."""
    waiting, running, began = list(files), list[subprocess.Popen[bytes]](), time.time()
    form = ["-f", "s16le", "-ac", "1", "-acodec", "pcm_s16le", "-ar", "16000"]
    while waiting or running:
        while waiting and len(running) < read_host().cores:
            command = [str(binaries.ffmpeg()), "-nostdin", "-v", "error", "-threads", "1", "-i", str(waiting.pop())]
            running.append(subprocess.Popen([*command, *form, "-y", "/dev/null"]))
        running = [one for one in running if one.poll() is None]
        time.sleep(0.01)
    return time.time() - began


def backlog(running: Fleet, files: Sequence[Path], clip: Path, clips: int) -> None:
    """Print what waiting files take, and how long clips of priority 0 take behind them."""
    idle = [clip_seconds(running, clip) for _ in range(20)]
    print(f"  a clip on an idle fleet takes {_spread(idle)} beyond the engine's {_WINDOW_SECONDS} s")
    began = time.time()
    for file in files:
        running.submit(file, priority=5)
    print(f"  {len(files)} files submitted within {time.time() - began:.1f} s")
    behind, memory, spool = list[float](), 0.0, 0.0
    for _ in range(clips):
        behind.append(clip_seconds(running, clip, priority=0))
        memory, spool = max(memory, running.memory()), max(spool, running.spooled())
    print(f"  {clips} clips behind them take {_spread(behind)} beyond the engine")
    planned = sum(1 for job in running.ledger.jobs() if _has_segments(running.ledger.job(job)))
    most = f"intake {memory:.0f} MB, spool {spool:.0f} MB at most"
    print(f"  after {time.time() - began:.0f} s {planned} jobs have segments; {most}")


def clip_seconds(running: Fleet, clip: Path, **fields: Any) -> float:
    """Return how long a clip of one window takes beyond what the engine takes; without a node, until it waits."""
    began = time.time()
    job = running.submit(clip, **fields)
    if running.has_node:
        running.client.result(job, timeout=120)
        return time.time() - began - _WINDOW_SECONDS
    while running.ledger.job(job).planned is None:
        time.sleep(0.01)
    return time.time() - began


def _has_segments(record: JobRecord) -> bool:
    return record.planned is not None


def _spread(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"{ordered[len(ordered) // 2] * 1000:.0f} ms (median), {p99 * 1000:.0f} ms (p99 of {len(ordered)})"


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="first,rate,backlog")
    parser.add_argument("--hours", type=float, default=3.0, help="of the long files")
    parser.add_argument("--files", type=int, default=1000, help="that wait, of an hour each")
    parser.add_argument("--clips", type=int, default=100, help="of priority 0 behind them")
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--to-end", action="store_true", help="wait until the long files are transcribed")
    parser.add_argument("--without-node", action="store_true", help="run only intake")
    parser.add_argument("--media", type=Path, help="where files are made once")
    options = parser.parse_args()
    os.environ[stand_in_app.SECONDS] = str(_WINDOW_SECONDS)
    formats = options.formats.split(",")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        folder = options.media or directory / "media"
        running = stack.enter_context(fleet(directory, has_node=not options.without_node))
        clip_seconds(running, media(folder, "wav", 10 / 3600))  # once everything is up
        if "first" in options.parts:
            print(f"one file of {options.hours:g} h on an idle fleet:")
            for form in formats:
                first(running, media(folder, form, options.hours), to_end=options.to_end)
        if "rate" in options.parts:
            count = 3 * read_host().cores
            print(f"{count} files of half an hour at once:")
            for form in formats:
                rate(running, media(folder, form, 0.5), 0.5, count)
        if "backlog" in options.parts:
            print(f"{options.files} files of an hour that wait:")
            hour = media(folder, "mp3", 1.0)
            backlog(running, [hour] * options.files, media(folder, "wav", 10 / 3600), options.clips)


if __name__ == "__main__":
    main()
