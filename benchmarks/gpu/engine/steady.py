"""Measures `transcribe()` through the engine's socket in steady state, with the clients in one or more processes.

Every thread transcribes segments of noise, one after the other, until the end; the windows of the middle count. So
the spectrograms of the beginning do not. Prompts are on, as in `whisper.transcribe()`, unless `--no-prompts` is given.
Random weights, a forced number of tokens.

    python -m benchmarks.gpu.engine.steady --models base:256 turbo:256 --processes 1 4 --out steady.json
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import tempfile
import threading
import time
from multiprocessing.context import SpawnProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from benchmarks.gpu.engine import setup
from benchmarks.gpu.engine.ready import random_file
from benchmarks.gpu.engine.served import serving
from benchmarks.support.processes import processor_seconds
from whisper_fleet.shared.audio.decode import SAMPLE_RATE
from whisper_fleet.shared.models import Precision
from whisper_fleet.workers.link.client import EngineClient
from whisper_fleet.workers.whisper import proxy, spectrogram

_END_OF_TEXT = 50257  # of all multilingual models
_SPAWN = multiprocessing.get_context("spawn")


def main() -> None:
    parser = setup.parser_of(__doc__)
    parser.add_argument("--models", nargs="+", default=["base:256", "turbo:256", "large-v3:256"], help="name:slots")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=120, help="of a segment")
    parser.add_argument("--warm", type=float, default=10.0, help="seconds before the measurement, at full batch")
    parser.add_argument("--measure", type=float, default=10.0, help="seconds")
    parser.add_argument("--no-prompts", action="store_true", help="condition_on_previous_text=False")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for item in arguments.models:
            name, _, slots = item.partition(":")
            model = random_file(name, Path(folder), arguments.device)
            for processes in arguments.processes:
                with serving(model, int(slots), arguments.device) as (client, engine):
                    found = _measure(client, engine, model, int(slots), processes, arguments)
                rows.append({"model": name, "slots": int(slots), "processes": processes, **found})
                print(rows[-1], flush=True)
                setup.write(arguments.out, arguments.device, {"prompts": not arguments.no_prompts, "rows": rows})
            model.unlink()
    keys = ("model", "slots", "processes", "times_realtime", "rows", "cores_of_clients", "cores_of_engine")
    setup.table(keys, [tuple(row[key] for key in keys) for row in rows])


def _measure(
    client: EngineClient, engine: psutil.Process, model: Path, slots: int, processes: int, arguments: argparse.Namespace
) -> dict[str, float]:
    """Return what the middle of the run showed."""
    counts: list[Synchronized[int]] = [_SPAWN.Value(ctypes.c_int64, 0) for _ in range(processes)]
    children = [_clients(model, slots // processes, processes, count, arguments) for count in counts]
    try:
        _await(counts, slots, arguments.warm)
        watched = {"clients": [psutil.Process(child.pid) for child in children], "engine": [engine]}
        began, windows = time.perf_counter(), sum(count.value for count in counts)
        used = {name: sum(map(processor_seconds, group)) for name, group in watched.items()}
        rows = []
        while time.perf_counter() < began + arguments.measure:
            rows.append(client.stats().rows_live)
            time.sleep(0.2)
        lasted = time.perf_counter() - began
        done = sum(count.value for count in counts) - windows
        cores = {f"cores_of_{name}": sum(map(processor_seconds, group)) for name, group in watched.items()}
    finally:
        for child in children:
            child.kill()
            child.join()
    spent = {name: round((value - used[name.removeprefix("cores_of_")]) / lasted, 1) for name, value in cores.items()}
    speed = done * setup.SECONDS_A_WINDOW / lasted
    return {"times_realtime": round(speed), "rows": round(sum(rows) / len(rows), 1), **spent}


def _await(counts: list[Synchronized[int]], slots: int, seconds: float) -> None:
    """Wait until every thread has begun on average two windows, then some seconds."""
    while sum(count.value for count in counts) < 2 * slots:
        time.sleep(0.1)
    time.sleep(seconds)


def _clients(
    model: Path, threads: int, processes: int, count: Synchronized[int], arguments: argparse.Namespace
) -> SpawnProcess:
    options = {
        "language": "en", "sample_len": arguments.tokens, "suppress_tokens": [-1, _END_OF_TEXT], "temperature": 0.0,
        "without_timestamps": True, "no_speech_threshold": None, "logprob_threshold": None,
        "compression_ratio_threshold": None, "condition_on_previous_text": not arguments.no_prompts,
    }  # fmt: skip
    precision = "float16" if arguments.device == "cuda" else "float32"
    cores = max(2, len(os.sched_getaffinity(0)) // processes)
    work = (str(model), precision, threads, cores, arguments.seconds, options, count)
    child = _SPAWN.Process(target=_transcribe_forever, args=work, daemon=True)
    child.start()
    return child


def _transcribe_forever(
    model: str,
    precision: Precision,
    threads: int,
    cores: int,
    seconds: int,
    options: dict[str, Any],
    count: Synchronized[int],
) -> None:
    """Transcribe the same noise again and again in every thread, and count the windows that begin."""
    torch.set_num_threads(1)  # as a node does
    spectrogram.limit_cores(cores)
    client = EngineClient(Path(model).with_suffix(".sock"))
    segment = np.random.default_rng(0).normal(0, 0.1, seconds * SAMPLE_RATE).astype(np.float32)
    lock = threading.Lock()

    def on_window(_: float) -> None:
        with lock:
            count.value += 1

    def one() -> None:
        while True:
            with client.session(model, precision) as session:
                proxy.transcribe(session, segment, on_window, **options)

    workers = [threading.Thread(target=one) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
