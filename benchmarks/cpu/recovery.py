"""How long segments wait for another GPU after a death: `python -m benchmarks.cpu.recovery [ROUNDS [DEATH...]]`.

Two hosts of one machine, `left` and `right`, each started by `whisper-fleet up` with a node on the processor,
transcribe ten minutes of noise with a very small model of random weights. In each round, something on the left dies or
freezes, and the time is taken until every segment that ran there runs again, with a new attempt, on whichever host.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from tests.chaos.resumption import run_again
from tests.chaos.scene.scene import Scene
from tests.support.waiting import wait_until
from whisper_fleet.shared import names

_SECONDS = 600
#: As many as the slots of one host, so that each host has room for what runs on the other.
_JOBS = 4


def main(rounds: int, deaths: list[str]) -> None:
    """Print the seconds of every round, and the 95th percentile, for each kind of death."""
    with TemporaryDirectory() as folder:
        scene = Scene(Path(folder), segments=_SECONDS // 20, files=1)
        try:
            scene.close_on_signals()
            scene.start()
            for name in deaths or _DEATHS:
                times = [_round(scene, _DEATHS[name]) for _ in range(rounds)]
                p95 = quantiles(times, n=20, method="inclusive")[-1] if len(times) > 1 else times[0]
                print(f"{name:15} p95 {p95:5.1f} s   {' '.join(f'{seconds:.1f}' for seconds in times)}", flush=True)
        finally:
            scene.close()


def _round(scene: Scene, die: Callable[[Scene], psutil.Process | None]) -> float:
    wait_until(lambda: _has_room(scene), 120, interval=0.1)
    jobs = [_submit(scene) for _ in range(_JOBS)]
    wait_until(lambda: _decodes_on_left(scene), 120, interval=0.05)
    lost = scene.running(scene.left.gpu)
    frozen = die(scene)
    began = time.monotonic()
    wait_until(lambda: run_again(scene, lost), 240, interval=0.05)
    seconds = time.monotonic() - began
    for job in jobs:
        job.revoke(terminate=True)
    wait_until(lambda: all(job.ready() for job in jobs), 60, interval=0.2)
    if frozen is not None:
        with contextlib.suppress(psutil.NoSuchProcess):  # its supervisor replaced it
            frozen.resume()
    scene.repair()
    return seconds


def _submit(scene: Scene) -> Any:
    request = {
        "file_path": str(scene.files[0]),
        "model_name": str(scene.model),
        "language": "en",
        "segment_duration": _SECONDS,
        "temperature": 0.0,
        "evidence": False,
    }
    return scene.client.send_task(
        names.TRANSCRIBE, kwargs=request, task_id=str(uuid.uuid4()), queue=names.TRANSCRIBE_QUEUE
    )


def _has_room(scene: Scene) -> bool:
    """Return whether both hosts have all their slots, and none of them is taken."""
    gpus = scene.registry.gpus(scene.registry.now(), 10.0)
    return len([gpu for gpu in gpus if gpu.ready and gpu.slots >= _JOBS and gpu.busy == 0]) == 2


def _decodes_on_left(scene: Scene) -> bool:
    """Return whether segments on the left have passed their first window: before that an engine has no part in them."""
    records = [scene.segment(member) for member in scene.running(scene.left.gpu)]
    return bool(records) and all(float(str(record.get("seconds", 0))) > 0 for record in records)


def _kill(kind: Any, scene: Scene) -> None:
    scene.left.process(kind).kill()


def _freeze(kind: Any, scene: Scene) -> psutil.Process:
    process = scene.left.process(kind)
    process.send_signal(signal.SIGSTOP)
    return process


#: What each death does to the left host; it returns the process that it froze.
_DEATHS: dict[str, Callable[[Scene], psutil.Process | None]] = {
    "node": lambda scene: _kill("gpu0", scene),
    "engine": lambda scene: _kill("engine", scene),
    "frozen engine": lambda scene: _freeze("engine", scene),
    "frozen node": lambda scene: _freeze("gpu0", scene),
    "supervisord": lambda scene: _kill("supervisord", scene),
    "host": lambda scene: scene.left.kill(),
}


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.setdefault("PYTHONPATH", str(Path.cwd()))  # of the fleet's own processes
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, sys.argv[2:])
