"""The fleet on the corpus: from submission to written files, and the latency of a clip alone and behind a backlog."""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.end_to_end.corpus import Recording, seconds_of
from benchmarks.gpu.fleet.live import LiveFleet, until
from benchmarks.support.processes import processor_seconds
from whisper_fleet.shared import names
from whisper_fleet.shared.errors import EngineError, JobNotFound
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.wire import JobState
from whisper_fleet.workers.link.client import EngineClient
from whisper_fleet.workers.node.engine_command import engine_socket

_LOOK_SECONDS = 0.05
_SAMPLE_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Figure:
    """How long one way took for some recordings."""

    way: str
    what: str
    seconds: float
    audio: float  # seconds
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def realtime(self) -> float:
        return self.audio / self.seconds


class FleetRun:
    """A fleet that is up, its model loaded, and what is measured of it."""

    def __init__(self, fleet: LiveFleet, model: Path, output: Path, options: dict[str, Any], patience: float) -> None:
        self._fleet = fleet
        self._asked = {"model_name": str(model), "language": "en", "output_path": str(output), "formats": ["txt"]}
        self._asked |= options
        self._output = output
        self._patience = patience

    def warm_up(self, clip: Recording) -> None:
        """Have every GPU load the model and get its slots."""
        self.transcribe("warm-up", [clip])
        until("the slots to settle", self._is_settled, 60)

    def transcribe(self, what: str, recordings: Sequence[Recording], **asked: Any) -> Figure:
        """Submit all recordings at once, and wait until all of their files are written."""
        before = self._processor_seconds()
        with Samples(self._fleet) as samples:
            began = time.time()
            jobs = [self._submit(recording, **asked) for recording in recordings]
            records = self._await(jobs)
            lasted = max(record.ended or 0.0 for record in records) - began
        used = self._processor_seconds()
        cores = {kind: round((value - before[kind]) / lasted, 2) for kind, value in sorted(used.items())}
        lost = [record.job for record in records if record.state is not JobState.DONE]
        missing = [one for one in recordings if not (self._output / f"{one.path.stem}.txt").exists()]
        notes = {
            "cores": cores,
            "memory_mb": self._memory(),
            "rows_per_busy_slot": samples.rows_per_busy_slot,
            "failed": len(lost),
            "files_missing": len(missing),
        }
        return Figure(way="whisper-fleet", what=what, seconds=lasted, audio=seconds_of(recordings), notes=notes)

    def latencies(self, clip: Recording, count: int, backlog: Sequence[Recording] = ()) -> list[float]:
        """Return the seconds from submission to file of clips of priority 0, one after the other.

        Behind a backlog, only clips that ended before it count, so there may be fewer than `count`, or none.
        """
        waiting = [self._submit(recording, priority=5) for recording in backlog]
        if waiting:
            until("the backlog to run", lambda: self._busy() > 0, self._patience)
        found = []
        for _ in range(count):
            began = time.time()
            (record,) = self._await([self._submit(clip, priority=0)])
            if waiting and all(self._is_final(job) for job in waiting):
                break
            found.append((record.ended or 0.0) - began)
        for job in waiting:
            self._fleet.app.control.revoke(job, terminate=True)
        self._await(waiting)
        return found

    def _submit(self, recording: Recording, **asked: Any) -> str:
        given = {"file_path": str(recording.path), **self._asked, **asked}
        sent = self._fleet.app.send_task(names.TRANSCRIBE, kwargs=given, queue=names.TRANSCRIBE_QUEUE)
        return str(sent.id)

    def _await(self, jobs: Sequence[str]) -> list[JobRecord]:
        ended: dict[str, JobRecord] = {}
        deadline = time.monotonic() + self._patience
        while len(ended) < len(jobs):
            for job in jobs:
                if job not in ended and (record := self._record(job)) is not None and record.state.is_final:
                    ended[job] = record
            if time.monotonic() > deadline:
                raise SystemExit(f"{len(jobs) - len(ended)} jobs did not end in {self._patience:.0f} s")
            time.sleep(_LOOK_SECONDS)
        return list(ended.values())

    def _record(self, job: str) -> JobRecord | None:
        try:
            return self._fleet.ledger.job(job)
        except JobNotFound:  # no intake has taken it yet
            return None

    def _is_final(self, job: str) -> bool:
        record = self._record(job)
        return record is not None and record.state.is_final

    def _is_settled(self) -> bool:
        gpus = self._fleet.gpus()
        decisions = [self._fleet.decision(gpu.index) for gpu in gpus]
        return all(
            made is not None and gpu.slots == max(made.wanted or 0, 1)
            for gpu, made in zip(gpus, decisions, strict=True)
        )

    def _busy(self) -> int:
        return sum(gpu.busy for gpu in self._fleet.gpus())

    def _processor_seconds(self) -> defaultdict[str, float]:
        used: defaultdict[str, float] = defaultdict(float)
        for process, kind in self._fleet.processes():
            try:
                used[kind] += processor_seconds(process)
            except psutil.Error:
                continue  # it has just ended
        return used

    def _memory(self) -> dict[str, int]:
        """Return the resident memory per kind of process; pages that processes share count for each of them."""
        held: defaultdict[str, int] = defaultdict(int)
        for process, kind in self._fleet.processes():
            try:
                held[kind] += process.memory_info().rss
            except psutil.Error:
                continue
        return {kind: round(size / 1e6) for kind, size in sorted(held.items())}


class Samples:
    """Looks twice a second at how many slots are busy, and how many of their windows are in the batch."""

    def __init__(self, fleet: LiveFleet) -> None:
        self._fleet = fleet
        self._pairs: list[tuple[int, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_repeatedly, daemon=True)

    def __enter__(self) -> Samples:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def rows_per_busy_slot(self) -> float | None:
        """The share over the middle half of the samples; None if no slot was busy then."""
        quarter = len(self._pairs) // 4
        middle = self._pairs[quarter : len(self._pairs) - quarter] or self._pairs
        busy = sum(busy for _, busy in middle)
        return round(sum(rows for rows, _ in middle) / busy, 2) if busy else None

    def _look_repeatedly(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            gpus = self._fleet.gpus()
            self._pairs.append((sum(self._rows(gpu.index) for gpu in gpus), sum(gpu.busy for gpu in gpus)))

    def _rows(self, index: int) -> int:
        settings = self._fleet.settings.model_copy(update={"gpu_index": index})
        try:
            return EngineClient(engine_socket(settings)).stats().rows_live
        except EngineError:
            return 0


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return the count, the median and the longest; with a hundred or more, also the 99th percentile."""
    if not seconds:
        return {"clips": 0}
    found = {"p50": statistics.median(seconds), "longest": max(seconds)}
    if len(seconds) >= 100:
        found["p99"] = statistics.quantiles(seconds, n=100)[98]
    return {"clips": len(seconds), **{name: round(value, 3) for name, value in found.items()}}
