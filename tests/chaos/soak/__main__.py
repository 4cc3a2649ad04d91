"""`python -m tests.chaos.soak --minutes 30` keeps two hosts busy with a fault per minute, and draws what grew."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from tempfile import mkdtemp

from tests.chaos import faults
from tests.chaos.judge import Reference, Verdict, judge
from tests.chaos.load import Load
from tests.chaos.rows import ROWS
from tests.chaos.run import Runner, Size
from tests.chaos.scene.machine import missing
from tests.chaos.scene.scene import Scene
from tests.chaos.soak.flatness import trends
from tests.chaos.soak.plot import plot
from tests.chaos.soak.samples import Sample, key_families, take, write

#: In this order, again and again. Each is over within a minute.
FAULTS = (
    "SIGKILL engine", "Redis killed, back after 5 s", "SIGKILL gpu0", "host cut off for 20 s", "SIGKILL intake",
    "SIGTERM gpu0", "Redis is full for 30 s", "SIGKILL scheduler", "every connection killed every 2 s for 30 s",
    "SIGKILL supervisord", "SIGSTOP engine for 40 s", "SIGKILL intake child", "SIGTERM intake", "SIGKILL beat",
    "storm of pool_grow and pool_shrink while engines die", "SIGKILL flower", "Redis is read-only for 30 s",
    "hostile messages on the queues of schedulers and nodes", "disk of the outputs full for 20 s",
    "SIGSTOP gpu0 for 40 s",
)  # fmt: skip
_SAMPLE_SECONDS = 10.0
_FAULT_SECONDS = 60.0
_BATCH, _BATCHES = 10, 5  # jobs per batch, and batches that are under way at the same time
_BATCH_PATIENCE = 400.0
#: Short, so that the number of keys has an end: what is kept is what ends within this time.
_RETENTION = {"WHISPER_FLEET_JOB_RETENTION": "240", "WHISPER_FLEET_JANITOR_INTERVAL": "30"}


class Soak:
    """The state of one run: batches under way, verdicts of those that ended, samples, and faults with their minute."""

    def __init__(self, scene: Scene, reference: Reference) -> None:
        self._scene, self._reference = scene, reference
        self._under_way: list[tuple[float, Load]] = []
        self.verdicts: list[Verdict] = []
        self.samples: list[Sample] = []
        self.faults: list[tuple[float, str]] = []
        self._began = time.monotonic()

    @property
    def minute(self) -> float:
        return (time.monotonic() - self._began) / 60

    def run(self, minutes: float) -> None:
        """Keep the fleet busy, with faults in a thread of their own."""
        stopped = threading.Event()
        thread = threading.Thread(target=self._hurt, args=(stopped, minutes))
        thread.start()
        next_sample = time.monotonic()
        while self.minute < minutes:
            self._refill()
            if time.monotonic() >= next_sample:
                self.samples += take(self._scene, self.minute)
                next_sample += _SAMPLE_SECONDS
            time.sleep(0.5)
        stopped.set()
        thread.join()
        self._scene.repair()
        while self._under_way:
            self._collect()
            time.sleep(0.5)

    def _hurt(self, stopped: threading.Event, minutes: float) -> None:
        possible = [ROWS[name] for name in FAULTS if missing(ROWS[name], self._scene) is None]
        for number, row in enumerate(cycle(possible), 1):
            if stopped.wait(max(0.0, number * _FAULT_SECONDS - self.minute * 60)) or self.minute > minutes - 1:
                return
            print(f"minute {self.minute:4.1f}: {row.name}", flush=True)
            self.faults.append((self.minute, row.name))
            try:
                row.fault(self._scene)
            except Exception as error:
                print(f"the fault itself failed: {error!r}", flush=True)

    def _refill(self) -> None:
        self._collect()
        while len(self._under_way) < _BATCHES:
            batch = Load(self._scene, _BATCH)
            self._under_way.append((time.monotonic(), batch))
            self._submit(batch)

    def _submit(self, batch: Load) -> None:
        try:
            batch.submit()
        except Exception as error:  # a client tries again until Redis accepts its jobs
            print(f"a client cannot submit now: {type(error).__name__}", flush=True)

    def _collect(self) -> None:
        for began, batch in list(self._under_way):
            self._submit(batch)
            is_late = time.monotonic() - began > _BATCH_PATIENCE
            if batch.ended() == len(batch.jobs) or is_late:
                self._under_way.remove((began, batch))
                time.sleep(0.1)  # the callback is sent after the answer
                self.verdicts.append(judge(batch.jobs, batch.outcomes(), self._reference, forgets=False))
                batch.forget()


def main() -> int:
    arguments = _parser().parse_args()
    faults.load()
    folder = Path(mkdtemp(prefix="soak-"))
    print(f"logs and files: {folder}", flush=True)
    scene = Scene(folder, segments=5, variables=_RETENTION)
    try:
        scene.close_on_signals()
        scene.start()
        reference, _ = Runner(scene, Size(jobs=24, segments=5)).reference()
        soak = Soak(scene, reference)
        soak.run(arguments.minutes)
        print("keys by kind:", ", ".join(f"{name} {count}" for name, count in key_families(scene).most_common(20)))
    finally:
        scene.close()
    arguments.csv.parent.mkdir(parents=True, exist_ok=True)
    write(soak.samples, arguments.csv)
    arguments.svg.write_text(plot(soak.samples, soak.faults))
    return _report(soak.verdicts, soak)


def _report(verdicts: Sequence[Verdict], soak: Soak) -> int:
    jobs = len(verdicts) * _BATCH
    kinds = ("lost", "doubled", "altered", "failed")
    wrong = {kind: [job for verdict in verdicts for job in getattr(verdict, kind)] for kind in kinds}
    print(
        f"{jobs} jobs, {len(soak.faults)} faults:", ", ".join(f"{kind} {len(found)}" for kind, found in wrong.items())
    )
    for kind, found in wrong.items():
        if found:
            print(f"  {kind}: {', '.join(found[:10])}")
    print("\n".join(sorted({note for verdict in verdicts for note in verdict.notes})))
    for trend in trends(soak.samples):
        verdict = "flat" if trend.is_flat else "GROWS"
        print(f"{trend.measure:12} {trend.before:10.2f} -> {trend.after:10.2f} ({trend.growth:+.1%}) {verdict}")
    return 0 if not any(wrong.values()) and all(trend.is_flat for trend in trends(soak.samples)) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--csv", type=Path, default=Path("var/soak.csv"), help="where the samples go")
    parser.add_argument("--svg", type=Path, default=Path("var/soak.svg"), help="where the plot goes")
    return parser


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path.cwd()))  # of the fleet's own processes
    sys.exit(main())
