"""The scheduler on a real GPU: slots follow the memory that a neighbour takes and frees, and nothing is lost.

It starts the fleet as `whisper-fleet up` does, sends it jobs through Celery alone, and samples NVML, the registry,
the autoscaler's decisions and the engine twice a second. With two GPUs it also looks at both. Under 8 minutes.
Part d, which runs only when asked for, measures what the whole fleet makes of a GPU while jobs enough are waiting.

    python -m benchmarks.gpu.fleet --out results
    python -m benchmarks.gpu.fleet --out results --parts d --jobs 90
    python -m benchmarks.gpu.fleet --out results --parts a --checkpoint base.pt
    python -m benchmarks.gpu.fleet --out results --rehearse 2     # no GPU: engines on the CPU, a stub of NVML
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.gpu.fleet.deep import deep_queue
from benchmarks.gpu.fleet.identity import identities
from benchmarks.gpu.fleet.live import LiveFleet
from benchmarks.gpu.fleet.model import save_random_checkpoint
from benchmarks.gpu.fleet.neighbour import Bench, Plan, sixty_gib, until_little_is_left
from benchmarks.gpu.fleet.plot import plot
from benchmarks.gpu.fleet.rehearsal import StubHost, StubTenant
from benchmarks.gpu.fleet.tenant import ProcessTenant, Tenant
from benchmarks.gpu.fleet.two import two_gpus
from benchmarks.support.speech import FORMATS, write_speech
from whisper_fleet.scheduler.capacity.nvml import NvmlReading, read_gpus

_GIB = 2**30
_REAL = Plan(
    jobs=24,
    deep=120,
    card=88 * _GIB,
    takes=60 * _GIB,
    step=2 * _GIB,
    leaves=2 * _GIB,
    step_seconds=1.0,
    quiet=10.0,
    stays=20.0,
    after=18.0,
    drain=60.0,
    warm=75.0,
)
_STUB_TOTAL = 11 * _GIB // 4
_STUB_SIZES = {"card": 7 * _GIB // 4, "takes": 3 * _GIB // 4, "step": _GIB // 4, "leaves": _GIB // 4}
_REHEARSED = replace(_REAL, jobs=12, deep=20, quiet=6.0, drain=120.0, **_STUB_SIZES)
#: Random weights never come to an end by themselves: a fixed number of tokens per window, and no second temperature.
_FORCED = {"temperature": 0.0, "sample_len": 100, "without_timestamps": True}


def main() -> None:
    options = _options()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(options.limit)
    report: dict[str, Any] = {"command": shlex.join(sys.orig_argv), "date": time.strftime("%F"), "parts": {}}
    try:
        with tempfile.TemporaryDirectory() as folder:
            _measure(options, options.folder or Path(folder), report)
    finally:
        signal.alarm(0)
        report["seconds"] = round(time.monotonic() - began, 1)
        (out / "scheduler.json").write_text(json.dumps(report))
    _print(report)
    sys.exit(not _all_hold(report))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("OUT", "gpu-results"))
    parser.add_argument("--out", type=Path, default=default, help="folder for scheduler.json and the pictures")
    parser.add_argument("--parts", default="abc", help="a: 60 GiB at once, b: 2 GiB a time, c: two GPUs, d: deep queue")
    parser.add_argument("--jobs", type=int, help="of part d, all at once")
    parser.add_argument("--checkpoint", type=Path, help="real weights; else random ones of --shape")
    parser.add_argument("--shape", default="large-v3", help="a model's name; its size is what matters")
    parser.add_argument("--slots", type=int, help="MAX_CONCURRENT_LIMIT; left out, the fleet's default")
    parser.add_argument("--slots-per-core", type=int, help="left out, the fleet's default")
    parser.add_argument("--segment", type=int, default=60, help="seconds")
    parser.add_argument("--minutes", type=float, default=30.0, help="of audio in a job")
    parser.add_argument("--format", default="wav", choices=FORMATS, help="of the audio")
    parser.add_argument("--card", type=float, help="GiB that parts a and b leave to it of a larger GPU")
    parser.add_argument("--cross-attention", default="auto", help="form of it, as WHISPER_FLEET_CROSS_ATTENTION")
    parser.add_argument("--takes", type=float, help="GiB that the neighbour of part a takes")
    parser.add_argument("--folder", type=Path, help="for checkpoint, audio and the fleet's logs; else one that goes")
    parser.add_argument("--limit", type=int, default=480, help="seconds after which everything is ended")
    parser.add_argument("--rehearse", type=int, metavar="GPUS", help="without a GPU")
    options = parser.parse_args()
    if options.rehearse:
        options.shape, options.slots, options.slots_per_core, options.minutes = "stub", 6, 8, 6.0
    return options


def _measure(options: argparse.Namespace, folder: Path, report: dict[str, Any]) -> None:
    """Run every part; the report is written whatever happens."""
    stub = StubHost(folder / "nvml", gpus=options.rehearse, total=_STUB_TOTAL) if options.rehearse else None
    if stub is not None:
        _load_stub(stub)
    before = _read_gpus()
    folder.mkdir(parents=True, exist_ok=True)
    report["machine"] = _machine(before)
    model, speech = _material(options, folder)
    with _fleet(options, folder, model, stub) as fleet:
        try:
            gpus = len(before.gpus)
            report["ready_s"] = round(fleet.await_ready(gpus, 75), 1)
            bench = _bench(options, fleet, model, speech, stub)
            for part in options.parts:
                report["parts"][part] = _part(part, bench, gpus)
                report.setdefault("identity", identities(fleet))  # of the first part: the last one kills a node
        except BaseException:
            report["logs"] = fleet.log_ends()
            raise
    time.sleep(2.0)
    report["used_before"] = [gpu.used_bytes for gpu in before.gpus]
    report["used_after"] = [gpu.used_bytes for gpu in _read_gpus().gpus]
    for part, picture in (("a", "co-tenant.svg"), ("b", "co-tenant-steps.svg")):
        if "samples" in report["parts"].get(part, {}):
            (options.out / picture).write_text(plot(report["parts"][part]))


def _read_gpus() -> NvmlReading:
    """Read the GPUs that the fleet will use."""
    return read_gpus(visible=os.environ.get("CUDA_VISIBLE_DEVICES"))


def _part(part: str, bench: Bench, gpus: int) -> dict[str, Any]:
    """Run a part; if it fails, record the reason and let the next one run."""
    began = time.monotonic()
    try:
        match part:
            case "a":
                found = sixty_gib(bench)
            case "b":
                found = until_little_is_left(bench)
            case "c" if gpus >= 2:
                found = two_gpus(bench, bench.plan.jobs)
            case "d":
                found = deep_queue(bench, bench.plan.deep)
            case _:
                found = {"skipped": f"it needs two GPUs, here {gpus}"}
    except Exception:
        traceback.print_exc()
        found = {"broke": traceback.format_exc(), "logs": bench.fleet.log_ends()}
    return {**found, "seconds": round(time.monotonic() - began, 1)}


def _load_stub(stub: StubHost) -> None:
    """Use the NVML stub in this process too."""
    import ctypes

    import pynvml

    os.environ.update(stub.environment)
    library = Path(stub.environment["LD_LIBRARY_PATH"].split(":")[0]) / "libnvidia-ml.so.1"
    pynvml.nvmlLib = ctypes.CDLL(str(library))


def _material(options: argparse.Namespace, folder: Path) -> tuple[Path, Path]:
    """Return the checkpoint and the audio."""
    speech = folder / f"speech.{options.format}"
    if not speech.exists():
        write_speech(speech, options.minutes * 60)
    if options.checkpoint:
        return options.checkpoint.absolute(), speech
    model = folder / f"random-{options.shape}.pt"
    if model.exists():
        return model, speech
    if options.rehearse:
        save_random_checkpoint(options.shape, model, "cpu")
    else:  # in a process of its own: this one must hold nothing of the GPU
        make = [sys.executable, "-m", "benchmarks.gpu.fleet.model", options.shape, str(model)]
        subprocess.run(make, check=True, timeout=120)
    return model, speech


@contextmanager
def _fleet(options: argparse.Namespace, folder: Path, model: Path, stub: StubHost | None) -> Iterator[LiveFleet]:
    settings = {
        "max_concurrent_limit": options.slots,
        "slots_per_core": options.slots_per_core,
        "segment_duration": float(options.segment),
        "cross_attention": options.cross_attention,
        "log_level": "INFO",
    }
    chosen = {name: value for name, value in settings.items() if value is not None}
    fleet = LiveFleet(folder, model, stub.environment if stub else {}, **chosen)
    try:
        if stub is not None:
            stub.watch(fleet.redis)
        yield fleet
    finally:
        fleet.stop()
        if stub is not None:
            stub.close()


def _bench(options: argparse.Namespace, fleet: LiveFleet, model: Path, speech: Path, stub: StubHost | None) -> Bench:
    asked = {"model_name": str(model), "language": "en", **({} if options.checkpoint else _FORCED)}

    def new_tenant(index: int) -> Tenant:
        if stub is not None:
            return StubTenant(stub, index)
        sees = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": str(index)}
        return ProcessTenant({**fleet.environment, **sees})

    plan = _REHEARSED if stub is not None else _REAL
    if options.jobs:
        plan = replace(plan, deep=options.jobs)
    if options.takes:
        plan = replace(plan, takes=int(options.takes * _GIB))
    if options.card:
        plan = replace(plan, card=int(options.card * _GIB))
    total = _read_gpus().gpus[0].total_bytes or plan.card
    return Bench(fleet=fleet, file=speech, asked=asked, new_tenant=new_tenant, plan=plan, total=total)


def _machine(reading: NvmlReading) -> dict[str, Any]:
    names = ("torch", "celery", "redis", "openai-whisper", "nvidia-ml-py")
    return {
        "gpus": [asdict(gpu) for gpu in reading.gpus],
        "driver": reading.driver,
        "problem": reading.problem,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "versions": {name: importlib.metadata.version(name) for name in names},
    }


def _too_long(*_: object) -> None:
    raise TimeoutError("the benchmark took too long")


def _all_hold(report: dict[str, Any]) -> bool:
    parts = report["parts"].values()
    return all("broke" not in part and all(check["holds"] for check in part.get("checks", ())) for part in parts)


def _print(report: dict[str, Any]) -> None:
    """Return the table."""
    for name, part in report["parts"].items():
        if "skipped" in part or "broke" in part:
            print(f"{name}  {'skipped: ' + part['skipped'] if 'skipped' in part else 'BROKE, see the JSON'}")
        if "figures" in part:
            print(f"{name}  {part['figures']}")
        for check in part.get("checks", ()):
            mark = "ok    " if check["holds"] else "MISSED"
            print(f"{name}  {mark}  {check['what']:<46} {check['seen']}  (wanted: {check['wanted']})")
    for index, (before, after) in enumerate(zip(report["used_before"], report["used_after"], strict=False)):
        print(f"memory in use on GPU {index}: {before / _GIB:.2f} GiB before the fleet, {after / _GIB:.2f} GiB after")


if __name__ == "__main__":
    main()
