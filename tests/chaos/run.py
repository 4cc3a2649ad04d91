"""Runs a row: a load, its fault in the middle of it, and the verdict."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tests.chaos.judge import Reference, Verdict, judge
from tests.chaos.leftovers import leftovers
from tests.chaos.load import Load
from tests.chaos.resumption import Resumed
from tests.chaos.rows import Row
from tests.chaos.scene.scene import Scene
from tests.support.waiting import wait_until

#: Seconds without an answer after which a fleet whose ledger was set back is done with all jobs that it knows. Segments
#: that it believes to be running wait for LEASE, two minutes.
_QUIET_SECONDS = 180.0
#: Seconds by which the audio of forgotten jobs is made older: the janitor keeps it for ten minutes.
_AGED_SECONDS = 660.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much a row transcribes."""

    jobs: int = 60
    segments: int = 10  # of each job
    patience: float = 600.0  # seconds for all answers, after the fault


class Runner:
    """Runs rows on one scene, one after the other; each leaves the scene as it found it."""

    def __init__(self, scene: Scene, size: Size) -> None:
        self.scene, self._size = scene, size
        self._reference: Reference | None = None

    def reference(self) -> tuple[Reference, float]:
        """Run the load without a fault; return what it gave, and the seconds that it took."""
        load = Load(self.scene, self._size.jobs)
        began = time.monotonic()
        load.submit()
        assert load.wait(self._size.patience), f"{load.ended()} of {len(load.jobs)} jobs ended without any fault"
        seconds = time.monotonic() - began
        self._reference = Reference.of(list(load.outcomes().values()))
        assert not (left := leftovers(self.scene, load.jobs)), left
        load.forget()
        return self._reference, seconds

    def run(self, row: Row, *, looks_for_leftovers: bool = True) -> Verdict:
        """Return what this row's fault did. Looking for leftovers waits until consumers that died are noticed."""
        assert self._reference is not None, "run the load without a fault first"
        self.scene.wait_ready()
        with row.staging(self.scene) if row.staging else nullcontext():
            verdict = self._run_staged(row, self._reference, looks_for_leftovers)
        self.scene.wait_ready()
        return verdict

    def _run_staged(self, row: Row, reference: Reference, looks_for_leftovers: bool) -> Verdict:
        load = Load(self.scene, self._size.jobs)
        began = time.monotonic()
        done = self.scene.segments_done() or 0
        load.submit(1.0 - row.late_share)
        self.scene.submit_rest = load.submit
        tenth = len(load.jobs) * self._size.segments // 10
        wait_until(lambda: (self.scene.segments_done() or 0) >= done + tenth, 180, interval=0.05)
        row.fault(self.scene)
        resumed = Resumed(self.scene, row.resumption)
        if row.forgets:
            load.wait_until_quiet(_QUIET_SECONDS)
        else:
            load.wait(self._size.patience)
        seconds = time.monotonic() - began
        verdict = judge(load.jobs, load.outcomes(), reference, forgets=row.forgets)
        self.scene.repair()
        if row.forgets:
            _age(self.scene.spool.path)
        left = leftovers(self.scene, load.jobs) if looks_for_leftovers else ()
        more = row.check(self.scene, list(load.jobs)) if row.check else ()
        load.forget()
        return replace(verdict, resumed=resumed.seconds(0.5), leftovers=(*left, *more), seconds=seconds)


def _age(spool: Path) -> None:
    """Make the folders of a spool look older than they are."""
    for folder in (path for path in spool.rglob("*") if path.is_dir()):
        with suppress(FileNotFoundError):  # its job's, which has just ended
            past = folder.stat().st_mtime - _AGED_SECONDS
            os.utime(folder, (past, past))
