"""Whichever call ends a job's transcription publishes `assemble`, and only that one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from kombu.exceptions import OperationalError

from tests.support.ledger_by_hand import request, result
from whisper_fleet.shared import names
from whisper_fleet.shared.errors import JobCancelled, StaleAttempt
from whisper_fleet.shared.ledger.actions import JobActions
from whisper_fleet.shared.ledger.continuation import Continuation
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.records import Finish, GivenBack
from whisper_fleet.shared.wire import SegmentMessage

MESSAGE = SegmentMessage(job="j", segment=0, token="t")


class FakeLedger:
    """Answers every transition alike: it ended the job, it did not, or it refuses."""

    def __init__(self, *, ends: bool, error: Exception | None = None) -> None:
        self._ends, self._error = ends, error
        self.reassigned = 0

    def _answer(self, *_: object) -> bool:
        if self._error is not None:
            raise self._error
        return self._ends

    fail = cancel = _answer

    def continuation(self, job: str) -> Continuation | None:
        return None

    def job(self, job: str) -> Any:
        return SimpleNamespace(request=request(file_path="/data/talk.mp3"), continuation=None)

    def finish(self, *_: object) -> Finish:
        return Finish(last=self._answer(), progress=None)

    def return_to_queue(self, *_: object) -> GivenBack:
        return GivenBack(job_failed=self._answer())

    def reassign(self, *_: object) -> None:
        self._answer()
        self.reassigned += 1


class FakeApp:
    """Keeps what is sent, or cannot send."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self._error = error

    def send_task(self, name: str, **options: Any) -> None:
        if self._error is not None:
            raise self._error
        self.sent.append((name, options))


def actions(ledger: FakeLedger, app: FakeApp) -> JobActions:
    return JobActions(cast("Ledger", ledger), cast("Any", app))


def run_each(made: JobActions) -> None:
    made.finish(MESSAGE, result(), 1.0)
    made.fail("j", "ValueError", "boom", 1.0)
    made.cancel("j", 1.0)
    made.return_to_queue(MESSAGE, "boom", 1.0)


def test_what_ends_a_job_publishes_assemble_under_the_jobs_id() -> None:
    app = FakeApp()
    run_each(actions(FakeLedger(ends=True), app))
    shown = repr({"file": "talk.mp3"})
    options = {"task_id": "j", "queue": names.ASSEMBLE_QUEUE, "kwargsrepr": shown}
    assert app.sent == [(names.ASSEMBLE, options)] * 4


def test_what_does_not_end_a_job_publishes_nothing() -> None:
    app = FakeApp()
    run_each(actions(FakeLedger(ends=False), app))
    actions(FakeLedger(ends=True), app).reassign(MESSAGE, "its node went down", 1.0)
    assert app.sent == []


def test_without_a_broker_the_transition_stands_and_recovery_publishes_later() -> None:
    app = FakeApp(OperationalError("connection refused"))
    assert actions(FakeLedger(ends=True), app).cancel("j", 1.0)


@pytest.mark.parametrize(("was_running", "published", "reassigned"), [(True, 1, 0), (False, 0, 1)])
def test_a_lost_segment_counts_as_an_attempt_only_if_it_ran(was_running: bool, published: int, reassigned: int) -> None:
    ledger, app = FakeLedger(ends=True), FakeApp()
    assert actions(ledger, app).return_lost(MESSAGE, "its node died", 1.0, was_running=was_running)
    assert (len(app.sent), ledger.reassigned) == (published, reassigned)


@pytest.mark.parametrize("error", [StaleAttempt(job="j", segment=0), JobCancelled(job="j")])
def test_a_segment_that_is_no_longer_lost_is_left_alone(error: Exception) -> None:
    app = FakeApp()
    assert not actions(FakeLedger(ends=True, error=error), app).return_lost(MESSAGE, "gone", 1.0, was_running=True)
    assert app.sent == []
