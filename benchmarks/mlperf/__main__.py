"""Drive the fleet with MLPerf's own load generator (the package mlcommons-loadgen), scenarios Offline and Server.

On MLPerf's data and checkpoint, where you have them, it gives the figures of its rules. On the shipped clips it is a
rehearsal, and says so: the clips are few, and their mean length is not MLPerf's.

    pip install mlcommons-loadgen
    python -m benchmarks.mlperf --model base.pt --scenario Offline --seconds 60
    python -m benchmarks.mlperf --model base.pt --scenario Server --qps 1 --latency 10
    python -m benchmarks.mlperf --model large-v3.pt --audio FOLDER --scenario Offline --seconds 600 --out logs
    python -m benchmarks.mlperf --model large-v3.pt --audio FOLDER --scenario Offline --accuracy --out logs
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import tempfile
import wave
from pathlib import Path
from typing import Any

from benchmarks.gpu.fleet.live import LiveFleet
from benchmarks.mlperf.system import System

_CLIPS = Path(__file__).parents[2] / "whisper_fleet" / "samples"
_REHEARSAL = "REHEARSAL on the shipped clips: no result by MLPerf's rules"


def main() -> None:
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every process that was started is ended
    try:
        loadgen: Any = importlib.import_module("mlperf_loadgen")
    except ImportError:
        sys.exit("the load generator is missing: pip install mlcommons-loadgen")
    files = sorted((options.audio or _CLIPS).glob("*.wav"))
    if not files:
        sys.exit(f"there is no .wav file in {options.audio}")
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    print(f"MLPerf {options.scenario}, {_described(files)}: {_kind(options)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        fleet = LiveFleet(Path(folder), options.model.absolute(), {})
        try:
            fleet.await_ready(1, 180)
            system = System(loadgen, fleet, options.model.absolute(), files)
            system.warm_up()
            with system.completing():
                _run(loadgen, system, len(files), options)
        finally:
            fleet.stop()
    summary = (out / "mlperf_log_summary.txt").read_text()
    print(summary if summary.strip() else "the load generator wrote no summary")
    print(f"{system.done} samples done, {system.failed} failed, prompts on. {_kind(options)}")
    sys.exit(1 if system.failed else 0)


def _run(loadgen: Any, system: System, samples: int, options: argparse.Namespace) -> None:
    """Have the load generator issue its queries; it returns when all of them are answered."""
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, options.scenario)
    settings.mode = loadgen.TestMode.AccuracyOnly if options.accuracy else loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = int(options.seconds * 1000)
    settings.min_query_count = options.samples or samples
    settings.offline_expected_qps = options.qps
    settings.server_target_qps = options.qps
    settings.server_target_latency_ns = int(options.latency * 1e9)
    log = loadgen.LogSettings()
    log.log_output.outdir = str(options.out)
    sut = loadgen.ConstructSUT(system.issue, lambda: None)
    library = loadgen.ConstructQSL(samples, samples, lambda _: None, lambda _: None)
    loadgen.StartTestWithLogSettings(sut, library, settings, log, "audit.config")
    loadgen.DestroyQSL(library)
    loadgen.DestroySUT(sut)


def _kind(options: argparse.Namespace) -> str:
    return _REHEARSAL if options.audio is None else f"audio of {options.audio}"


def _described(files: list[Path]) -> str:
    lengths = [_seconds(file) for file in files]
    return f"{len(files)} files of {sum(lengths) / len(lengths):.1f} s on average"


def _seconds(path: Path) -> float:
    with wave.open(str(path)) as file:
        return float(file.getnframes() / file.getframerate())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint in openai-whisper's format")
    parser.add_argument("--scenario", choices=("Offline", "Server"), default="Offline")
    parser.add_argument("--audio", type=Path, help="folder of MLPerf's .wav files; left out, the shipped clips")
    parser.add_argument("--seconds", type=float, default=60.0, help="shortest duration; MLPerf's rules want 600")
    parser.add_argument("--qps", type=float, default=1.0, help="samples per second: expected, or offered by Server")
    parser.add_argument("--latency", type=float, default=10.0, help="seconds that 99 % of Server's queries may take")
    parser.add_argument("--samples", type=int, help="fewest samples; left out, as many as there are files")
    parser.add_argument("--accuracy", action="store_true", help="every sample once; texts in mlperf_log_accuracy.json")
    parser.add_argument("--out", type=Path, default=Path("mlperf-logs"), help="folder of the load generator's logs")
    return parser


if __name__ == "__main__":
    main()
