"""The load generator gets one response for each of its samples, also for a job that fails."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.mlperf.system import System
from tests.support.waiting import wait_until
from whisper_fleet.shared.ledger import keys

FILES = [Path("/a.wav"), Path("/b.wav")]


class Fleet:
    """Takes jobs; a test decides how they end."""

    def __init__(self) -> None:
        self.app = self.redis = self.ledger = self
        self.files: list[str] = []
        self.states: dict[str, bytes] = {}
        self._asked: list[str] = []

    def send_task(self, _: str, *, kwargs: dict[str, Any], queue: str) -> SimpleNamespace:
        self.files.append(kwargs["file_path"])
        return SimpleNamespace(id=f"job-{len(self.files)}")

    def pipeline(self, *, transaction: bool) -> Fleet:
        self._asked = []
        return self

    def hget(self, key: str, field: str) -> None:
        self._asked.append(key)

    def execute(self) -> list[bytes | None]:
        return [self.states.get(key) for key in self._asked]

    def results(self, job: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(text=f" words of {job}"), SimpleNamespace(text=" end")]


class Loadgen:
    """Records responses: sample -> text, which is only there during the call."""

    def __init__(self) -> None:
        self.responses: dict[int, str] = {}

    def QuerySampleResponse(self, sample: int, address: int, size: int) -> tuple[int, str]:
        return sample, ctypes.string_at(address, size).decode() if size else ""

    def QuerySamplesComplete(self, responses: Sequence[tuple[int, str]]) -> None:
        self.responses.update(responses)


def test_every_sample_of_a_query_is_answered_once() -> None:
    fleet, loadgen = Fleet(), Loadgen()
    system = System(loadgen, fleet, Path("/base.pt"), FILES)  # type: ignore[arg-type]  # a stand-in
    with system.completing():
        system.issue(
            [SimpleNamespace(index=1, id=71), SimpleNamespace(index=0, id=72), SimpleNamespace(index=1, id=73)]
        )
        assert fleet.files == ["/b.wav", "/a.wav", "/b.wav"]
        fleet.states = {keys.job("job-1"): b"done", keys.job("job-2"): b"running", keys.job("job-3"): b"failed"}
        wait_until(lambda: len(loadgen.responses) == 2, 10)
        assert loadgen.responses == {71: " words of job-1 end", 73: ""}
        fleet.states[keys.job("job-2")] = b"done"
        wait_until(lambda: len(loadgen.responses) == 3, 10)
    assert (system.done, system.failed) == (2, 1)
