"""Measure the whole fleet from submission to written files, next to what people would use instead, on the same files.

The files are the shipped clips in a loop, in wav, mp3, m4a and opus. The fleet is up and has its model, as a service
does; so have Celery's prefork pool, faster-whisper and transformers. Stock's command line starts and loads its model
each time. All transcribe greedily with Whisper's fallback temperatures, except transformers, which has neither those
nor prompts. Small sizes, the default, take minutes on a CPU; `--full` are those of a GPU.

    python -m benchmarks.end_to_end --model base.pt --out end-to-end.json
    python -m benchmarks.end_to_end --model base.pt --ctranslate2 FOLDER --other-python VENV/bin/python
    python -m benchmarks.end_to_end --model large-v3.pt --full --transformers FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.end_to_end.corpus import Corpus, make_corpus
from benchmarks.end_to_end.fleet import Figure, FleetRun, percentiles
from benchmarks.end_to_end.others import Means, best_prefork, faster_whisper, stock_cli, transformers
from benchmarks.gpu.fleet.live import LiveFleet
from benchmarks.support.speech import FORMATS
from whisper_fleet.scheduler.capacity.devices import read_devices
from whisper_fleet.shared.settings import Settings

_HOUR = 3600.0


def main() -> None:
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every process that was started is ended
    report: dict[str, Any] = {"command": shlex.join(sys.orig_argv), "date": time.strftime("%F"), "figures": []}
    devices = read_devices(Settings())
    report |= {"machine": platform.machine(), "cores": len(os.sched_getaffinity(0)), "device": devices.gpus[0].name}
    report["prompts"] = not options.no_prompts
    with tempfile.TemporaryDirectory() as folder:
        corpus = _corpus(options, Path(folder))
        means = Means(
            checkpoint=options.model.absolute(),
            device=devices.device,
            prompts=not options.no_prompts,
            python=options.other_python,
            ctranslate2=options.ctranslate2,
            transformers=options.transformers,
        )
        for figure in _figures(options, corpus, means, Path(folder), report):
            report["figures"].append({**asdict(figure), "times_realtime": round(figure.realtime, 1)})
            _print(figure)
            if options.out:
                options.out.write_text(json.dumps(report, indent=1))
    _print_latencies(report)


def _figures(
    options: argparse.Namespace, corpus: Corpus, means: Means, folder: Path, report: dict[str, Any]
) -> Iterator[Figure]:
    """Run each way on the short and on the long files; the fleet is down while the others run."""
    sets = {"short": corpus.short, "long": corpus.long}
    with _fleet(options, folder, means) as run:
        run.warm_up(corpus.clip)
        for what, recordings in sets.items():
            yield run.transcribe(what, recordings)
        report["latency_s"] = {
            "alone": percentiles(run.latencies(corpus.clip, options.clips)),
            "behind a backlog": percentiles(run.latencies(corpus.clip, options.clips, corpus.long * options.backlog)),
        }
    for name, measure in _others(options, means).items():
        if name in options.others:
            for what, recordings in sets.items():
                yield measure(what, recordings)


def _others(options: argparse.Namespace, means: Means) -> dict[str, Callable[..., Figure]]:
    """Return the ways that can run here, by name."""
    ways: dict[str, Callable[..., Figure]] = {
        "stock": lambda what, files: stock_cli(means, what, files),
        "prefork": lambda what, files: best_prefork(means, what, files, options.prefork),
    }
    if means.ctranslate2 is not None:
        ways["faster-whisper"] = lambda what, files: faster_whisper(means, what, files)
    if means.transformers is not None:
        ways["transformers"] = lambda what, files: transformers(means, what, files, options.batches)
    return ways


@contextmanager
def _fleet(options: argparse.Namespace, folder: Path, means: Means) -> Iterator[FleetRun]:
    """Start the fleet with its defaults: nothing is tuned."""
    fleet = LiveFleet(folder, means.checkpoint, {})
    try:
        fleet.await_ready(1, 180)
        asked = {"condition_on_previous_text": means.prompts}
        output = folder / "transcripts"
        output.mkdir()
        yield FleetRun(fleet, means.checkpoint, output, asked, patience=options.patience)
    finally:
        fleet.stop()


def _corpus(options: argparse.Namespace, folder: Path) -> Corpus:
    short = options.short or (200 if options.full else 20)
    between = (10.0, 60.0) if options.full else (10.0, 30.0)
    long = options.long or ([0.5 * _HOUR] * 24 + [3 * _HOUR] * 4 if options.full else [300.0])
    return make_corpus(folder / "audio", options.formats, short=short, between=between, long=long)


def _print(figure: Figure) -> None:
    name = f"{figure.way}, {figure.what} files"
    notes = ", ".join(f"{name} {value}" for name, value in figure.notes.items())
    print(f"{name:<44}{figure.realtime:9.1f} times realtime {figure.seconds:8.1f} s  {notes}", flush=True)


def _print_latencies(report: dict[str, Any]) -> None:
    for name, found in report["latency_s"].items():
        print(f"a clip of 10 s of priority 0, {name}: {found}")
    print(f"prompts {'on' if report['prompts'] else 'off'}, {report['device']}, {report['cores']} cores")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint in openai-whisper's format")
    parser.add_argument("--full", action="store_true", help="the sizes of a GPU: 24 of half an hour, 4 of three hours")
    parser.add_argument("--short", type=int, help="number of short files")
    parser.add_argument("--long", type=float, nargs="+", help="seconds of each long file")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--clips", type=int, default=10, help="of which the latency is measured")
    parser.add_argument("--backlog", type=int, default=2, help="how often the long files make the backlog")
    parser.add_argument("--others", nargs="*", default=["stock", "prefork", "faster-whisper", "transformers"])
    parser.add_argument(
        "--prefork", type=int, nargs="+", default=[1, 2, 4], help="numbers of processes; the best counts"
    )
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[16, 64, 128], help="of transformers; the best counts"
    )
    parser.add_argument("--ctranslate2", type=Path, help="folder of the same model for faster-whisper")
    parser.add_argument("--transformers", type=Path, help="folder of the same model for transformers")
    parser.add_argument("--other-python", default=sys.executable, help="a Python that has those two packages")
    parser.add_argument("--no-prompts", action="store_true", help="condition_on_previous_text=False")
    parser.add_argument("--patience", type=float, default=1800.0, help="seconds until the fleet must be done")
    parser.add_argument("--out", type=Path, help="file for all figures, as JSON")
    return parser


if __name__ == "__main__":
    main()
