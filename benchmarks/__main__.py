"""List every benchmark with its command: `python -m benchmarks`."""

from __future__ import annotations

import sys
from typing import NamedTuple


class Benchmark(NamedTuple):
    """One benchmark: the module that runs it, its usual arguments, and the question that it answers."""

    module: str
    arguments: str
    question: str
    needs_gpu: bool = False

    @property
    def command(self) -> str:
        """Return the command as it is typed."""
        return f"python -m {self.module} {self.arguments}".rstrip()


BENCHMARKS = (
    Benchmark("benchmarks.queue", "", "segments per second that Redis and Celery carry, against bare Celery tasks"),
    Benchmark("benchmarks.queue.decisions", "", "milliseconds to decide, read and assign, with up to 1,000 GPUs"),
    Benchmark("benchmarks.simulation", "--plot fleet.svg", "what the scheduler's decisions are worth on 1,000 GPUs"),
    Benchmark("benchmarks.cpu.engine", "--model base --model-dir DIR", "the engine on a CPU, next to stock Whisper"),
    Benchmark("benchmarks.cpu.node", "--slots 64 --speed 2800", "how much of a fast engine one node keeps busy"),
    Benchmark("benchmarks.cpu.recovery", "5", "seconds until lost segments run again after a death"),
    Benchmark("benchmarks.cpu.intake", "--files 1000", "seconds to the first segment, decoding rate, a long backlog"),
    Benchmark("benchmarks.cpu.footprint", "--model base.pt", "processor time of decoding, and memory in Redis"),
    Benchmark("benchmarks.cpu.spectrogram", "", "spectrograms of many slots in one process, next to whisper's"),
    Benchmark("benchmarks.end_to_end", "--model FILE", "the whole fleet, next to what people would use instead"),
    Benchmark("benchmarks.mlperf", "--model FILE --scenario Offline", "the fleet under MLPerf's load generator"),
    Benchmark("benchmarks.gpu.engine", "", "all parts of the engine's benchmark on a GPU", True),
    Benchmark("benchmarks.gpu.engine.speed", "--models base:64,256", "times realtime of the engine alone", True),
    Benchmark("benchmarks.gpu.engine.others", "stock --models base", "stock Whisper and transformers", True),
    Benchmark("benchmarks.gpu.engine.exact", "--checkpoint base.pt", "tokens and words equal to stock Whisper", True),
    Benchmark("benchmarks.gpu.engine.served", "--models base:256", "windows and transcripts through the socket", True),
    Benchmark("benchmarks.gpu.engine.steady", "--processes 1 4", "transcripts from clients in several processes", True),
    Benchmark("benchmarks.gpu.engine.ready", "", "seconds from start to the first window", True),
    Benchmark("benchmarks.gpu.fleet", "--out results --parts ab", "the fleet while a neighbour takes memory", True),
)


def listing() -> str:
    """Return one line per benchmark."""
    width = max(len(one.command) for one in BENCHMARKS)
    lines = [f"{one.command:<{width}}  {one.question}{' (GPU)' if one.needs_gpu else ''}" for one in BENCHMARKS]
    return "\n".join([*lines, "", "Each takes --help. What they measured: docs/benchmarks/index.md."])


if __name__ == "__main__":
    sys.stdout.write(listing() + "\n")
