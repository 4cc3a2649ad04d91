"""Measure how much of a fast engine one node keeps busy: a real node and scheduler, and a stand-in engine.

    python -m benchmarks.cpu.node [--slots 64] [--speed 2800] [--seconds 300] [--waves 4]

The stand-in answers a window after the time that an engine of that speed (times realtime) takes for one with all slots
busy. Segments lie in the spool, so that no ffmpeg runs; reading, spectrograms, whisper's transcribe(), the ledger and
Celery are the fleet's own. FleetSnapshot are of the middle half of the segments.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
from celery import Celery
from redis import Redis

from benchmarks.support import stand_in_app
from benchmarks.support.processes import HOST, node_and_scheduler, nodes, processor_seconds, redis_server
from whisper_fleet.shared.audio.decode import SAMPLE_RATE
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.connect import connect
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.ledger.wakeup import wake_dispatcher
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import GpuStatus, JobPlan, SegmentPlan, TranscribeRequest
from whisper_fleet.workers.link.client import EngineClient
from whisper_fleet.workers.node.engine_command import engine_socket

_SECONDS_A_WINDOW = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--speed", type=float, default=2800.0, help="of the engine, times realtime")
    parser.add_argument("--seconds", type=float, default=300.0, help="of a segment")
    parser.add_argument("--waves", type=int, default=4, help="segments of each slot")
    options = parser.parse_args()
    os.environ[stand_in_app.SECONDS] = str(options.slots * _SECONDS_A_WINDOW / options.speed)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        settings = Settings(var_dir=Path(directory) / "var", host=HOST)
        url = stack.enter_context(redis_server(Path(directory)))
        own = {"var_dir": settings.var_dir, "device": "cpu", "heartbeat_interval": 1.0}
        workers = node_and_scheduler("benchmarks.support.stand_in_app", options.slots, schedulers=1)
        stack.enter_context(nodes(url, workers, Path(directory), **own))
        redis = connect(url)
        node, ledger = _node_process(_await_node(redis)), Ledger(redis, Settings(max_attempts=3, job_retention=3600.0))
        segments = options.slots * options.waves
        job = _plan(ledger, settings, segments, options.seconds)
        wake_dispatcher(Celery(broker=url, backend=url, set_as_current=False), redis)
        _report(ledger, job, segments, options, node, EngineClient(engine_socket(settings)))


def _await_node(redis: Redis) -> GpuStatus:
    while True:
        for status in GpuRegistry(redis).gpus(time.time(), 5.0):
            if status.ready:
                return status
        time.sleep(0.1)


def _node_process(status: GpuStatus) -> psutil.Process:
    """Return the parent of the engine."""
    node = psutil.Process(status.engine_pid).parent()
    if node is None:
        raise SystemExit("the node has gone")
    return node


def _plan(ledger: Ledger, settings: Settings, segments: int, seconds: float) -> str:
    """Plan one job over noise that is in the spool once."""
    job = str(uuid.uuid4())
    pcm = np.random.default_rng(0).integers(-3000, 3000, int(SAMPLE_RATE * seconds), np.int16).tobytes()
    spool = Spool(settings)
    first = settings.spool.absolute() / str(spool.write(job, 0, pcm))
    for index in range(1, segments):
        os.link(first, first.with_name(f"{index}.s16le"))
    plans = [
        SegmentPlan(index=at, start=at * seconds, end=(at + 1) * seconds, spool=f"{job}/{at}.s16le")
        for at in range(segments)
    ]
    options = {"temperature": 0.0, "without_timestamps": True}
    request = TranscribeRequest(file_path="/nowhere.wav", model_name="base", language="en", options=options)
    ledger.accept(job, request, time.time())
    ledger.plan(job, JobPlan(duration=segments * seconds, segments=tuple(plans)), time.time())
    return job


def _report(
    ledger: Ledger, job: str, segments: int, options: argparse.Namespace, node: psutil.Process, engine: EngineClient
) -> None:
    """Print what the middle half of the segments showed."""
    _ = list(_rows_until(ledger, job, segments // 4, engine))
    before, began, used = ledger.job(job).segments_done or 0, time.monotonic(), processor_seconds(node)
    rows = list(_rows_until(ledger, job, 3 * segments // 4, engine))
    done, took = (ledger.job(job).segments_done or 0) - before, time.monotonic() - began
    cores = (processor_seconds(node) - used) / took
    print(
        f"{done / took * options.seconds:.0f} times realtime of {options.speed:.0f} that the engine has; "
        f"{sum(rows) / len(rows):.1f} rows at work of {options.slots}; {cores:.2f} cores"
    )


def _rows_until(ledger: Ledger, job: str, done: int, engine: EngineClient) -> Iterator[int]:
    """Yield the number of busy rows repeatedly until this many segments are done."""
    while (ledger.job(job).segments_done or 0) < done:
        yield engine.stats().rows_live
        time.sleep(0.1)


if __name__ == "__main__":
    main()
