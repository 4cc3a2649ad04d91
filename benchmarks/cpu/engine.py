"""`python -m benchmarks.cpu.engine`: the engine next to stock whisper and faster-whisper, on the same speech.

The engine runs as its node runs it: in a process of its own, asked by one client a row over its socket.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import itertools
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.cpu.comparison import GREEDY, WARM_UP_SECONDS, Figure, Plan, Samples, faster_whisper, stock
from whisper_fleet.shared.audio.decode import SAMPLE_RATE, stream_pcm
from whisper_fleet.shared.errors import EngineDied
from whisper_fleet.shared.settings import Settings, load_settings
from whisper_fleet.workers.link.client import EngineClient
from whisper_fleet.workers.link.protocol import EngineStats
from whisper_fleet.workers.node.engine_command import engine_environment
from whisper_fleet.workers.whisper import proxy

_CLIPS = Path(__file__).parents[2] / "whisper_fleet" / "samples"
_SHARES = ("encode", "prefill", "decode", "idle")
_POLL_SECONDS = 0.5
#: What the engine's statistics look back on, seconds.
_LOOKS_BACK = 10.0


def bench(plan: Plan, settings: Settings) -> str:
    """Measure and return the report; raises RequestError if the speech cannot be read."""
    speech = speech_of(plan, settings)
    figures = [_engine(plan, settings, speech)]
    if plan.with_stock:
        figures.append(stock(plan, speech[0]))
    if plan.ctranslate2 is not None and importlib.util.find_spec("faster_whisper") is not None:
        figures += faster_whisper(plan, plan.ctranslate2, speech[0])
    return report(plan, figures)


def speech_of(plan: Plan, settings: Settings) -> list[Samples]:
    """Return the speech of each row: the files in a loop, starting with a different file in each row."""
    clips = [np.frombuffer(b"".join(stream_pcm(file, settings)), np.int16) for file in plan.files]
    rows = []
    for row in range(plan.rows):
        turned = itertools.cycle(clips[row % len(clips) :] + clips[: row % len(clips)])
        samples = np.concatenate(list(_until(turned, plan.seconds * SAMPLE_RATE)))
        rows.append(samples[: plan.seconds * SAMPLE_RATE].astype(np.float32) / np.float32(32768))
    return rows


def _until(clips: Iterator[NDArray[np.int16]], length: int) -> Iterator[NDArray[np.int16]]:
    while length > 0:
        clip = next(clips)
        length -= len(clip)
        yield clip


def report(plan: Plan, figures: list[Figure]) -> str:
    """Return a table of the figures, and how the engine spent its time."""
    engine, *others = figures
    versions = " ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "openai-whisper"))
    threads = f"{torch.get_num_threads()} threads"
    lines = [
        f"{plan.model} {plan.precision} on {plan.device}, {plan.rows} rows of {plan.seconds} s of speech, greedy",
        f"{platform.machine()} {threads} ({_processor()}), {versions}, {time.strftime('%Y-%m-%d')}",
    ]
    for figure in figures:
        same = "" if figure is engine else f"  {_agreement(engine, figure)}"
        lines.append(f"{figure.name:<34}{figure.realtime:8.1f} times realtime{figure.seconds:8.1f} s{same}")
    lines += [f"engine / {other.name}: {engine.realtime / other.realtime:.2f}" for other in others]
    shares = (f"{kind} {engine.shares[kind]:.0%}" for kind in _SHARES)
    return "\n".join([*lines, f"the engine's time: {', '.join(shares)}"])


def _agreement(engine: Figure, other: Figure) -> str:
    return "text equal" if other.texts[0].split() == engine.texts[0].split() else "text differs"


def _engine(plan: Plan, settings: Settings, speech: list[Samples]) -> Figure:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a node: its slots prepare audio while the engine has the cores
    with _running(plan, settings) as client:
        _transcribe(client, plan, speech[0][: WARM_UP_SECONDS * SAMPLE_RATE])
        with ThreadedRows(client, plan, speech) as rows:
            seen = rows.watch()
    torch.set_num_threads(before)
    shares = {kind: statistics.fmean(getattr(stats, f"share_{kind}") for stats in seen) for kind in _SHARES}
    return Figure(
        name=f"engine, {plan.rows} rows",
        seconds=rows.seconds,
        speech=plan.rows * plan.seconds,
        texts=rows.texts,
        shares=shares,
    )


@contextmanager
def _running(plan: Plan, settings: Settings) -> Iterator[EngineClient]:
    """An engine in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        socket = Path(directory) / "engine.sock"
        command = [sys.executable, "-m", "whisper_fleet.workers.engine", "--log-level", "WARNING", "serve"]
        command += ["--socket", str(socket), "--device", plan.device, "--slots", str(plan.rows)]
        command += ["--model-dir", str(plan.model_dir.absolute())]
        command += ["--reproducible"] if plan.reproducible else []
        environment = {**os.environ, **engine_environment(settings, plan.device)}
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as child:
            client = EngineClient(socket)
            while child.poll() is None and not _answers(client):
                time.sleep(0.1)
            yield client
            if child.stdin is not None:
                child.stdin.close()


def _answers(client: EngineClient) -> bool:
    try:
        client.stats()
    except EngineDied:
        return False
    return True


def _transcribe(client: EngineClient, plan: Plan, audio: Samples) -> str:
    with client.session(plan.model, plan.precision) as session:
        return str(proxy.transcribe(session, audio, lambda _: None, **GREEDY)["text"])


class ThreadedRows:
    """Transcribe all rows at once, one client thread per row, while the caller watches."""

    def __init__(self, client: EngineClient, plan: Plan, speech: list[Samples]) -> None:
        self.texts = [""] * len(speech)
        self.seconds = 0.0
        self._client = client

        def transcribe(row: int) -> None:
            self.texts[row] = _transcribe(client, plan, speech[row])

        self._threads = [threading.Thread(target=transcribe, args=(row,)) for row in range(len(speech))]

    def __enter__(self) -> ThreadedRows:
        self._started = time.perf_counter()
        for thread in self._threads:
            thread.start()
        return self

    def watch(self) -> list[EngineStats]:
        """Collect the engine's statistics until all rows are done, without those that cover the time before."""
        seen: list[EngineStats] = []
        while all(thread.is_alive() for thread in self._threads):
            time.sleep(_POLL_SECONDS)
            if time.perf_counter() < self._started + _LOOKS_BACK:
                seen.clear()
            seen.append(self._client.stats())
        return seen

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()
        self.seconds = time.perf_counter() - self._started


def _processor() -> str:
    """Return the CPU's name and its widest vector instructions."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or "unknown processor"
    found = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return f"{found[0] if found else 'unknown processor'}, {torch.backends.cpu.get_cpu_capability()}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    arguments = _parser().parse_args(argv)
    log_format = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=arguments.log_level, stream=sys.stderr, format=log_format)
    plan = Plan(
        model=arguments.model,
        model_dir=arguments.model_dir,
        device=arguments.device,
        rows=arguments.rows,
        seconds=arguments.seconds,
        files=arguments.audio or sorted(_CLIPS.glob("*.wav")),
        ctranslate2=arguments.ctranslate2,
        with_stock=not arguments.no_stock,
        reproducible=arguments.reproducible,
    )
    sys.stdout.write(bench(plan, load_settings()) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu.engine", description=__doc__)
    parser.add_argument("--log-level", default="INFO")
    parser.add_argument("--model", required=True)
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cpu")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=120, help="seconds of speech per row")
    parser.add_argument("--audio", type=Path, nargs="+", help="speech files; the shipped samples if omitted")
    parser.add_argument("--ctranslate2", type=Path, help="folder of the same model for faster-whisper, if installed")
    parser.add_argument("--no-stock", action="store_true", help="skip whisper.transcribe()")
    parser.add_argument("--reproducible", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
