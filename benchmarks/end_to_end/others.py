"""What people would use instead of the fleet, each in processes of its own: on the same files, greedy, to text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import Celery

from benchmarks.end_to_end.corpus import Recording, seconds_of
from benchmarks.end_to_end.fleet import Figure
from benchmarks.support.processes import redis_server

_SCRIPTS = Path(__file__).parent / "scripts"


@dataclass(frozen=True, kw_only=True)
class Means:
    """What the other ways need."""

    checkpoint: Path
    device: str  # cuda or cpu
    prompts: bool
    python: str  # that has faster-whisper and transformers
    ctranslate2: Path | None  # folder of the model for faster-whisper
    transformers: Path | None  # folder of the model for transformers


def stock_cli(means: Means, what: str, recordings: Sequence[Recording]) -> Figure:
    """Run `whisper FILE ...`, one process for all files: its start and the model's loading are part of the time."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.end_to_end.scripts.stock_cli", *_paths(recordings)]
        command += ["--model", str(means.checkpoint), "--device", means.device, "--language", "en"]
        command += ["--fp16", str(means.device == "cuda"), "--output_dir", folder, "--output_format", "txt"]
        command += ["--beam_size", "None", "--best_of", "None", "--verbose", "False"]
        command += ["--condition_on_previous_text", str(means.prompts)]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        written = len(list(Path(folder).glob("*.txt")))
    notes = {"files_missing": len(recordings) - written}
    return Figure(way="stock CLI", what=what, seconds=seconds, audio=seconds_of(recordings), notes=notes)


def prefork(means: Means, what: str, recordings: Sequence[Recording], processes: int) -> Figure:
    """Run Celery's prefork pool with one model per process, which is loaded before the time begins."""
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as url:
        variables = {
            "BENCHMARK_REDIS": url,
            "BENCHMARK_MODEL": str(means.checkpoint),
            "BENCHMARK_DEVICE": means.device,
            "BENCHMARK_PROMPTS": str(int(means.prompts)),
            "BENCHMARK_THREADS": str(max(1, len(os.sched_getaffinity(0)) // processes)),
        }
        app_name = "benchmarks.end_to_end.scripts.prefork_app"
        command = [sys.executable, "-m", "celery", "-A", app_name, "worker", "-c", str(processes), "-l", "ERROR"]
        with subprocess.Popen([*command, "-O", "fair"], env={**os.environ, **variables}) as worker:
            try:
                app = Celery(broker=url, backend=url, set_as_current=False)
                _ = [app.send_task("load").get(timeout=300) for _ in range(2 * processes)]
                began = time.perf_counter()
                for sent in [app.send_task("transcribe", (str(one.path), folder)) for one in recordings]:
                    sent.get(timeout=3600)
                seconds = time.perf_counter() - began
                app.close()
            finally:
                worker.terminate()
                worker.wait()
    way = f"Celery prefork, {processes} processes"
    return Figure(way=way, what=what, seconds=seconds, audio=seconds_of(recordings))


def best_prefork(means: Means, what: str, recordings: Sequence[Recording], counts: Sequence[int]) -> Figure:
    """Return the fastest of several numbers of processes."""
    figures = [prefork(means, what, recordings, count) for count in counts]
    best = max(figures, key=lambda figure: figure.realtime)
    best.notes["of"] = {count: round(one.realtime, 1) for count, one in zip(counts, figures, strict=True)}
    return best


def faster_whisper(means: Means, what: str, recordings: Sequence[Recording]) -> Figure:
    """Run faster-whisper in the model's precision, file after file, the model loaded before the time begins."""
    given = {"model": str(means.ctranslate2), "device": means.device, "prompts": means.prompts}
    found = _script(means, "faster_whisper_files.py", recordings, given)
    return Figure(way="faster-whisper", what=what, audio=seconds_of(recordings), seconds=found["seconds"])


def transformers(means: Means, what: str, recordings: Sequence[Recording], batches: Sequence[int]) -> Figure:
    """Run transformers' pipeline at the best of several batch sizes, the model loaded before the time begins."""
    given = {"model": str(means.transformers), "device": means.device, "batches": list(batches)}
    found = _script(means, "transformers_files.py", recordings, given)
    best = min(found, key=found.__getitem__)
    notes = {"seconds_by_batch": found, "prompts": "off: its pipeline has none"}
    return Figure(
        way=f"transformers, batch {best}", what=what, audio=seconds_of(recordings), seconds=found[best], notes=notes
    )


def _script(means: Means, name: str, recordings: Sequence[Recording], given: dict[str, Any]) -> dict[str, float]:
    """Run a script that knows nothing of this project, in the other Python; it prints its figures as JSON."""
    command = [means.python, str(_SCRIPTS / name), json.dumps({**given, "files": _paths(recordings)})]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found


def _paths(recordings: Sequence[Recording]) -> list[str]:
    return [str(recording.path) for recording in recordings]
