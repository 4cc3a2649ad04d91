"""The table of the ways in which an attempt can end early, row by row; docs has the same table for readers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from whisper_fleet.shared.errors import (
    CorruptAudio,
    EngineDied,
    EngineDown,
    EngineOutOfMemory,
    EngineRequestInvalid,
    FileMissing,
    JobCancelled,
    JobNotFound,
    ModelUnavailable,
    OverTimeLimit,
    SegmentStopped,
    SlotLost,
    StaleAttempt,
)
from whisper_fleet.workers.node.outcomes import OUTCOMES, Action, JobRevoked, Outcome, SegmentRevoked, outcome_of

ENDS = [
    (FileMissing("x"), "fail", None, False),
    (CorruptAudio("x"), "fail", None, False),
    (EngineRequestInvalid("x"), "fail", None, False),
    (ModelUnavailable("x"), "fail", None, False),
    (EngineDied("x"), "return_to_queue", None, True),
    (EngineOutOfMemory("x"), "return_to_queue", None, True),
    (OverTimeLimit("x"), "return_to_queue", None, True),
    (ValueError("x"), "return_to_queue", None, True),
    (EngineDown("x"), "reassign", "reassigned", False),
    (SlotLost("x"), "reassign", "reassigned", False),
    (SegmentStopped("x"), "reassign", "reassigned", False),
    (StaleAttempt("x"), "nothing", "dropped", False),
    (JobCancelled("x"), "nothing", "dropped", False),
    (JobNotFound("x"), "nothing", "dropped", False),
    (JobRevoked("x"), "cancel", "dropped", False),
    (SegmentRevoked("x"), "cancel", "cancelled", False),
]


@pytest.mark.parametrize(("error", "action", "result", "counts"), ENDS, ids=lambda value: type(value).__name__)
def test_how_an_attempt_ends(error: Exception, action: str, result: str | None, counts: bool) -> None:
    outcome = outcome_of(error)
    assert (outcome.action, outcome.result, outcome.counts) == (action, result, counts)


def test_every_row_is_reached() -> None:
    assert {outcome_of(error) for error, *_ in ENDS} == set(OUTCOMES)


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.errors[0].__name__)
def test_the_documented_table_has_every_row(outcome: Outcome) -> None:
    counts = "yes" if outcome.counts else "no"
    shown = "FAILURE" if outcome.result is None else f"`{outcome.result}`"
    rows = {(action, attempt, flower) for errors, action, attempt, flower in documented() if names(outcome) <= errors}
    assert rows == {(f"`{outcome.action}`" if outcome.action is not Action.NONE else "nothing", counts, shown)}


def names(outcome: Outcome) -> set[str]:
    return {error.__name__ for error in outcome.errors}


def documented() -> list[tuple[set[str], str, str, str]]:
    """The rows of the page on the node: errors, transition, whether the attempt counts, what Flower shows."""
    (page,) = (Path(__file__).parents[4] / "docs").rglob("node.md")
    table = page.read_text().split("## How an attempt ends")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    return [
        (set(re.findall(r"`(\w+)`", errors)), action, counts, flower) for _, errors, action, counts, flower in rows[2:]
    ]
