"""The bytes that a job leaves behind are fixed: its request and segment results in the ledger, its result, its files.

The expected bytes were written by the first version that had them, with whisper's own writers. Programs read these
files, and a fleet that is upgraded host by host reads what the other version wrote: they change on purpose or not at
all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kombu.utils.json import dumps

from whisper_fleet.outcome import JobResult
from whisper_fleet.scheduler.intake import delivery, tasks
from whisper_fleet.scheduler.intake.assembly import result_of
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.transcript import Transcript
from whisper_fleet.shared.wire import JobWarning, SegmentPlan, SegmentResult, TranscribeRequest, WarningKind

CASES = sorted((Path(__file__).parents[3] / "data" / "golden").iterdir())
NOW = 1764234567.25


@contextmanager
def ours(*_: object) -> Iterator[bool]:
    yield True


def job_of(case: Path) -> dict[str, Any]:
    job: dict[str, Any] = json.loads((case / "job.json").read_text())
    return job


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request_and_its_segment_results_are_the_same_bytes(case: Path) -> None:
    job = job_of(case)
    assert TranscribeRequest(**job["request"]).to_json() == (case / "request.json").read_text()
    results = [SegmentResult.from_json(json.dumps(result)).to_json() for result in job["results"]]
    expected = (case / "segment_results.jsonl").read_text().split("\n")[:-1]
    assert results == expected
    assert [SegmentResult.from_json(result).to_json() for result in expected] == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_result_and_its_files_are_the_same_bytes(case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(case)
    monkeypatch.setattr(tasks, "claimed", ours)
    monkeypatch.setattr(delivery, "time", SimpleNamespace(time=lambda: NOW))
    ledger = SimpleNamespace(
        plans=lambda _: [SegmentPlan(**plan) for plan in job["plans"]],
        results=lambda _: [SegmentResult.from_json(json.dumps(result)) for result in job["results"]],
    )
    request = TranscribeRequest(**job["request"], output_path=str(tmp_path))
    record = SimpleNamespace(
        warnings=(),
        job="j",
        request=request,
        duration=job["duration"],
        accepted=NOW - 20.125,
        started=NOW - 12.5,
        language_probability=job.get("language_probability"),
        not_before=None,
        trace=None,
        segments_total=1,
    )
    result = tasks._assembled(SimpleNamespace(ledger=ledger, settings=Settings()), record)  # type: ignore[arg-type]
    written = {f"output{Path(file).suffix}": Path(file).read_bytes() for file in result["output_files"]}
    result["output_files"] = [Path(file).name for file in result["output_files"]]
    assert dumps(result) == (case / "result.json").read_text()
    assert written == {path.name: path.read_bytes() for path in case.glob("output.*")}


def test_a_result_has_its_warnings_without_what_is_not_known() -> None:
    known = JobWarning(kind=WarningKind.GAP, message="a hole of 5.0 s", at=3.0)
    record = SimpleNamespace(
        request=TranscribeRequest(file_path="/a", model_name="base"),
        warnings=(known, JobWarning(kind=WarningKind.DAMAGED, message="damage")),
        duration=1.0,
        accepted=NOW,
        started=NOW,
        language_probability=None,
        not_before=None,
        trace=None,
        segments_total=1,
    )
    transcript = Transcript(text="", segments=(), language="en")
    result = json.loads(dumps(result_of(record, transcript, [], [], NOW)))  # type: ignore[arg-type]
    assert result["warnings"] == [
        {"kind": "gap", "message": "a hole of 5.0 s", "at": 3.0},
        {"kind": "damaged", "message": "damage"},
    ]
    assert JobResult.model_validate(result).warnings == record.warnings
    newer = JobResult.model_validate(
        {**result, "warnings": [{"kind": "new", "message": "m", "more": 1}]}, extra="ignore"
    )
    assert newer.warnings[0].kind == "new"
