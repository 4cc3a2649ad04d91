"""Measures the engine's speed as its node sees it: through the socket, and through whisper's own `transcribe()`.

A process of its own serves the socket, as on a node. Clients are threads of one process, one a slot, also as on a
node: `windows` asks for windows one after the other, their spectrograms ready; `transcribe` runs
`whisper.transcribe()` on segments of noise, spectrogram and all. Random weights, a forced number of tokens.

    python -m benchmarks.gpu.engine.served --models base:64,256 large-v3:64,256 --out served.json
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor
from whisper.decoding import DecodingOptions

from benchmarks.gpu.engine import setup
from benchmarks.gpu.engine.ready import answering, random_file, serve_command
from benchmarks.support.processes import processor_seconds
from whisper_fleet.shared.audio.decode import SAMPLE_RATE
from whisper_fleet.shared.models import Precision
from whisper_fleet.workers.link.client import EngineClient, EngineSession
from whisper_fleet.workers.whisper import proxy

_END_OF_TEXT = 50257  # of all multilingual models


def main() -> None:
    parser = setup.parser_of(__doc__)
    parser.add_argument("--models", nargs="+", default=["base:64,256", "turbo:64,256", "large-v3:64,256"])
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--windows", type=int, default=3, help="that each thread asks for after two that warm up")
    parser.add_argument("--segments", type=int, default=1, help="that each thread transcribes; 0: none")
    parser.add_argument("--seconds", type=int, default=300, help="of a segment")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as a node does
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for item in arguments.models:
            name, _, counts = item.partition(":")
            model = random_file(name, Path(folder), arguments.device)
            for count in map(int, counts.split(",")):
                with serving(model, count, arguments.device) as (client, engine):
                    for row in measure(Clients(client, engine, model, count, arguments.device), arguments):
                        rows.append({"model": name, "slots": count, **row})
                        print(rows[-1], flush=True)
                        setup.write(arguments.out, arguments.device, {"rows": rows})
            model.unlink()
    keys = ("model", "slots", "what", "times_realtime", "cores_of_clients", "cores_of_engine")
    setup.table(keys, [tuple(row[key] for key in keys) for row in rows])


@contextmanager
def serving(model: Path, slots: int, device: str) -> Iterator[tuple[EngineClient, psutil.Process]]:
    """Run an engine process with this many slots."""
    socket = model.with_suffix(".sock")
    command = serve_command(socket, device, slots)
    with subprocess.Popen(command, stdin=subprocess.PIPE) as engine:
        try:
            yield answering(EngineClient(socket), engine), psutil.Process(engine.pid)
        finally:
            engine.terminate()


class Clients:
    """One thread per slot, each with a session of its own."""

    def __init__(self, client: EngineClient, engine: psutil.Process, model: Path, slots: int, device: str) -> None:
        self._client, self._engine, self._model, self.slots = client, engine, model, slots
        self._precision: Precision = "float16" if device == "cuda" else "float32"

    def timed(
        self, work: Callable[[EngineSession], object], warm_up: Callable[[EngineSession], object]
    ) -> tuple[float, dict[str, float]]:
        """Return the seconds of `work` in all threads at once, and the cores that clients and engine used."""
        barrier = threading.Barrier(self.slots + 1)

        def one() -> None:
            with self._client.session(str(self._model), self._precision) as session:
                warm_up(session)
                barrier.wait()
                work(session)
                barrier.wait()

        threads = [threading.Thread(target=one, daemon=True) for _ in range(self.slots)]
        for thread in threads:
            thread.start()
        barrier.wait()
        processes = {"cores_of_clients": psutil.Process(), "cores_of_engine": self._engine}
        began, used = time.perf_counter(), {name: processor_seconds(one) for name, one in processes.items()}
        barrier.wait()
        seconds = time.perf_counter() - began
        cores = {name: round((processor_seconds(one) - used[name]) / seconds, 1) for name, one in processes.items()}
        for thread in threads:
            thread.join()
        return seconds, cores


def measure(clients: Clients, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure windows that are ready, then complete segments."""
    options = {"language": "en", "sample_len": arguments.tokens, "suppress_tokens": [-1, _END_OF_TEXT]}
    made: list[Tensor] = []

    def windows(session: EngineSession, count: int) -> None:
        made[:] = made or setup.noise(session.dims, 2)
        for at in range(count):
            session.decode(made[at % 2], DecodingOptions(**options))  # another one than before: it must travel

    def warm_up(session: EngineSession) -> None:
        windows(session, 2)

    seconds, cores = clients.timed(lambda session: windows(session, arguments.windows), warm_up)
    audio = clients.slots * arguments.windows * setup.SECONDS_A_WINDOW
    yield {"what": "windows", "times_realtime": round(audio / seconds, 1), **cores}
    if not arguments.segments:
        return
    segment = np.random.default_rng(0).normal(0, 0.1, arguments.seconds * SAMPLE_RATE).astype(np.float32)
    forced = {**options, "temperature": 0.0, "without_timestamps": True, "no_speech_threshold": None,
              "logprob_threshold": None, "compression_ratio_threshold": None}  # fmt: skip

    def segments(session: EngineSession) -> None:
        for _ in range(arguments.segments):
            proxy.transcribe(session, segment, lambda _: None, **forced)

    seconds, cores = clients.timed(segments, warm_up)
    audio = clients.slots * arguments.segments * arguments.seconds
    yield {"what": "transcribe", "times_realtime": round(audio / seconds, 1), **cores}


if __name__ == "__main__":
    main()
