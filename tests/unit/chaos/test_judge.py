"""The verdict on a load, from the answers that its clients got."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.judge import Outcome, Reference, judge

REFERENCE = Reference(transcripts={0: "zero", 1: "one"}, written={0: "0", 1: "1"})


def outcome(file: int = 0, **changes: Any) -> Outcome:
    right: dict[str, Any] = {
        "state": "SUCCESS",
        "transcript": REFERENCE.transcripts[file],
        "written": REFERENCE.written[file],
    }
    return Outcome(file=file, **{**right, **changes})


def test_right_answers_are_clean() -> None:
    verdict = judge(["a", "b"], {"a": outcome(), "b": outcome(1)}, REFERENCE, forgets=False)
    assert verdict.is_clean


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (None, "lost"),
        (outcome(deliveries=0), "lost"),
        (outcome(deliveries=2), "doubled"),
        (outcome(transcript="one"), "altered"),
        (outcome(written="1"), "altered"),
        (outcome(written=""), "altered"),
        (outcome(state="FAILURE", error="EngineDied"), "failed"),
        (outcome(state="REVOKED"), "failed"),
    ],
)
def test_each_kind_of_damage_is_counted(answer: Outcome | None, kind: str) -> None:
    outcomes = {"a": outcome()} if answer is None else {"a": outcome(), "b": answer}
    verdict = judge(["a", "b"], outcomes, REFERENCE, forgets=False)
    found = {name: getattr(verdict, name) for name in ("lost", "doubled", "altered", "failed")}
    assert found == {**dict.fromkeys(found, ()), kind: ("b",)}
    assert not verdict.is_clean


def test_a_file_that_is_reported_as_not_written_is_not_altered() -> None:
    assert judge(["a"], {"a": outcome(written=None)}, REFERENCE, forgets=False).is_clean


def test_a_forgotten_job_is_excused_only_if_the_ledger_was_set_back() -> None:
    outcomes = {"a": outcome(state="FAILURE", error="JobForgotten: ...")}
    assert judge(["a"], outcomes, REFERENCE, forgets=True).forgotten == 1
    assert judge(["a"], outcomes, REFERENCE, forgets=True).is_clean
    assert judge(["a"], outcomes, REFERENCE, forgets=False).failed == ("a",)


def test_a_reference_is_refused_if_its_jobs_disagree() -> None:
    with pytest.raises(AssertionError, match="reproducible"):
        Reference.of([outcome(), outcome(transcript="other")])
