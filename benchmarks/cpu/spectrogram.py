"""Measure log-mel spectrograms in many threads of one process: whisper's function next to ours, in pieces.

    python -m benchmarks.cpu.spectrogram [--threads 1 2 16 64] [--seconds 300] [--rounds 5]

Each figure is the median of short runs, each in a process of its own, the two ways by turns. Memory is what the process
held at most beyond what it held before, audio included, a thread. Needs Linux.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import resource
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
import whisper.audio

from whisper_fleet.workers.whisper import spectrogram

_WAYS: dict[str, Callable[..., torch.Tensor]] = {
    "whisper's own": whisper.audio.log_mel_spectrogram,
    "in pieces": spectrogram.log_mel_spectrogram,
}
#: Spectrograms of a run: enough that a single thread is busy.
_SEGMENTS = 32


@dataclass(frozen=True)
class Run:
    """The measurements of one run."""

    realtime: float  # seconds of audio in a second
    cores: float
    kernel: float  # share of the processor's time
    megabytes: float  # a thread


def main() -> None:
    """Print both ways and their ratios for every number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 16, 64])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--mels", type=int, choices=(80, 128), default=80)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {options.mels} mels")
    print(f"{'threads':>7}  {'':<14}{'times realtime':>15}{'cores':>7}{'in the kernel':>15}{'MB a thread':>13}")
    for threads in options.threads:
        _compare(threads, options.seconds, options.mels, options.rounds)


def _compare(threads: int, seconds: float, mels: int, rounds: int) -> None:
    runs: dict[str, list[Run]] = {way: [] for way in _WAYS}
    for _ in range(rounds):
        for way, found in runs.items():
            found.append(_in_own_process(way, threads, seconds, mels))
    own, ours = (_median(found) for found in runs.values())
    for way, run in (("whisper's own", own), ("in pieces", ours)):
        print(f"{threads:7}  {way:<14}{run.realtime:15,.0f}{run.cores:7.1f}{run.kernel:15.0%}{run.megabytes:13.1f}")
    speed, memory = ours.realtime / own.realtime, own.megabytes / ours.megabytes
    print(f"{'':7}  {speed:.1f} times as fast in 1 / {memory:.1f} of the memory", flush=True)


def _median(runs: list[Run]) -> Run:
    return Run(*(statistics.median(values) for values in zip(*map(astuple, runs), strict=True)))


def _in_own_process(way: str, threads: int, seconds: float, mels: int) -> Run:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_run, way, threads, seconds, mels).result()


def _run(way: str, threads: int, seconds: float, mels: int) -> Run:
    torch.set_num_threads(1)  # as in a node
    compute = _WAYS[way]
    noise = np.random.default_rng(0).normal(0, 0.1, int(seconds * 16_000)).astype(np.float32)
    compute(noise[:160_000], mels, padding=480_000)
    each = max(1, _SEGMENTS // threads)
    ready = threading.Barrier(threads + 1)

    def work() -> None:
        audio = noise.copy()
        ready.wait()
        for _ in range(each):
            compute(audio, mels, padding=480_000)

    held = _resident("VmRSS")
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait()
    elapsed, user, kernel = _timed(workers)
    return Run(
        realtime=seconds * threads * each / elapsed,
        cores=(user + kernel) / elapsed,
        kernel=kernel / (user + kernel),
        megabytes=(_resident("VmHWM") - held) / threads,
    )


def _timed(workers: list[threading.Thread]) -> tuple[float, float, float]:
    """Return the seconds until all are done: wall clock, processor in user mode, processor in the kernel."""
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for worker in workers:
        worker.join()
    elapsed, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    return elapsed, after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime


def _resident(name: str) -> float:
    """Return the MB that the process holds: VmRSS is the current, VmHWM the highest value."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 / 1e6 if found else float("nan")


if __name__ == "__main__":
    main()
