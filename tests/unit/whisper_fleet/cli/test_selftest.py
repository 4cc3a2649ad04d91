"""The self-test shows the time of each step up to the first that failed, and what to do about that one."""

from __future__ import annotations

from dataclasses import replace

from tests.support.results_by_hand import RESULT
from whisper_fleet.cli.selftest import steps_of
from whisper_fleet.errors import FleetError
from whisper_fleet.outcome import Outcome
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.wire import JobState, TranscribeRequest

DONE = JobRecord(
    job="j",
    state=JobState.DONE,
    request=TranscribeRequest(file_path="/a.wav", model_name="base"),
    accepted=1.0,
    planned=1.5,
    started=2.0,
    ended=4.0,
    duration=3.0,
    segments_total=1,
    segments_done=1,
    seconds_done=3.0,
    error_type=None,
    error=None,
)


def test_a_job_that_is_done_took_every_step() -> None:
    steps = list(steps_of(DONE, Outcome(data=RESULT | {"text": " Two words."}), 4.25, None))
    assert [(step.name, step.seconds) for step in steps] == [
        ("planned", 0.5),
        ("started", 0.5),
        ("transcribed", 2.0),
        ("delivered", 0.25),
        ("text", 0.0),
    ]
    assert steps[-1].detail == "Two words." and all(step.advice is None for step in steps)


def test_the_first_step_that_was_not_made_has_the_reason_and_advice() -> None:
    waiting = replace(DONE, state=JobState.RUNNING, started=None, ended=None)
    *_, last = steps_of(waiting, None, 9.0, "no GPU is up")
    assert (last.name, last.seconds, last.detail) == ("started", None, "no GPU is up")
    assert last.advice and "whisper-fleet slots" in last.advice


def test_the_error_of_a_failed_job_is_the_reason() -> None:
    failed = replace(DONE, state=JobState.FAILED, started=None, planned=None, error_type="X", error="it is missing")
    (step,) = steps_of(failed, Outcome(exception=FleetError("it is missing")), 9.0, None)
    assert (step.name, step.detail) == ("planned", "FleetError: it is missing")


def test_a_transcript_without_words_is_a_failure() -> None:
    *_, last = steps_of(DONE, Outcome(data=RESULT | {"text": " "}), 5.0, None)
    assert (last.name, last.seconds) == ("text", None)
