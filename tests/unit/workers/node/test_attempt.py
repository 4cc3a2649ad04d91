"""How an attempt ends, and what it does on the way."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from whisper_fleet.shared.errors import (
    EngineDied,
    EngineDown,
    FileMissing,
    JobCancelled,
    ModelUnavailable,
    SegmentStopped,
    SlotLost,
    StaleAttempt,
)
from whisper_fleet.shared.wire import SegmentMessage, SegmentPlan, SegmentResult, SegmentWork, TranscribeRequest
from whisper_fleet.workers.node.attempt import Attempt
from whisper_fleet.workers.node.outcomes import Action
from whisper_fleet.workers.pool.slots import Slot

MESSAGE = SegmentMessage(job="job", segment=0, token="token")
RESULT = SegmentResult(text="", language="en", segments=(), gpu="h.0", decode_seconds=0.0, transcribe_seconds=0.0)
WORK = SegmentWork(
    request=TranscribeRequest(file_path="/a.wav", model_name="base"),
    plan=SegmentPlan(index=0, start=0.0, end=1.0),
    attempt=1,
)


@dataclass
class FakeContext:
    """A node whose engine is up, and which keeps what an attempt does; a test changes what it needs."""

    engine_patience: float = 0.0
    engine_is_up: bool = True
    revoked: set[str] = field(default_factory=set)
    redis_is_up: bool = True
    outages: int = 0  # of Redis, when the result is stored
    superseded: bool = False
    calls: list[object] = field(default_factory=list)

    def wait_for_engine(self, timeout: float) -> bool:
        return self.engine_is_up

    def is_revoked(self, task_id: str) -> bool:
        return task_id in self.revoked

    def start(self, message: SegmentMessage) -> SegmentWork:
        self.calls.append("start")
        return WORK

    def report(self, message: SegmentMessage, seconds_done: float, text: str | None) -> bool:
        self.calls.append(seconds_done if text is None else (seconds_done, text))
        return self.redis_is_up

    def set_language(self, message: SegmentMessage, language: str, probability: float) -> str:
        if self.outages:
            self.outages -= 1
            raise RedisConnectionError("just now")
        self.calls.append((language, probability))
        return language

    def finish(self, message: SegmentMessage, result: SegmentResult) -> None:
        if self.outages:
            self.outages -= 1
            raise RedisConnectionError("just now")
        self.calls.append("finish")

    def end(self, message: SegmentMessage, action: Action, error: Exception) -> None:
        if self.superseded:
            raise StaleAttempt(job=message.job, segment=message.segment)
        self.calls.append(action)

    def wake_dispatcher(self) -> None:
        self.calls.append("wake")


def attempt(context: FakeContext, slot: Slot | None = None, shown: list[float] | None = None) -> Attempt:
    return Attempt(context, MESSAGE, slot or Slot(), (shown if shown is not None else []).append)


def ends_with(error: Exception, context: FakeContext, slot: Slot | None = None) -> str:
    made = attempt(context, slot)
    with made.settled():
        raise error
    return made.result


def test_a_transcribed_segment_is_finished_and_wakes_the_dispatcher() -> None:
    context = FakeContext()
    made = attempt(context)
    with made.settled():
        assert made.start() == WORK
        made.finish(RESULT)
    assert context.calls == ["start", "finish", "wake"]
    assert made.result == "done"


def test_a_failure_is_settled_and_raised_so_that_flower_shows_it() -> None:
    context = FakeContext()
    with pytest.raises(FileMissing):
        ends_with(FileMissing("gone"), context)
    assert context.calls == [Action.FAIL, "wake"]


def test_what_is_no_failure_is_settled_and_not_raised() -> None:
    context = FakeContext()
    assert ends_with(SlotLost(), context) == "reassigned"
    assert context.calls == [Action.REASSIGN, "wake"]


def test_an_engine_that_ends_because_the_node_stops_costs_no_attempt() -> None:
    context, slot = FakeContext(), Slot()
    slot.stop(SlotLost())
    assert ends_with(EngineDied(), context, slot) == "reassigned"


@pytest.mark.parametrize(
    ("revoked", "result", "action"),
    [({"token"}, "cancelled", Action.CANCEL), (set(), "reassigned", Action.REASSIGN)],
)
def test_a_stopped_segment_cancels_its_job_only_if_it_was_revoked(
    revoked: set[str], result: str, action: Action
) -> None:
    context = FakeContext(revoked=revoked)
    assert ends_with(SegmentStopped(reason="its task was revoked"), context) == result
    assert context.calls == [action, "wake"]


def test_a_job_that_its_client_revoked_is_cancelled_at_the_next_window() -> None:
    context = FakeContext(revoked={"job"})
    made = attempt(context)
    with made.settled():
        made.checkpoint(30.0)
    assert context.calls == [Action.CANCEL, "wake"]
    assert made.result == "dropped"


@pytest.mark.parametrize("error", [SlotLost(), SegmentStopped(reason="x")])
def test_a_segment_that_another_attempt_has_is_dropped(error: Exception) -> None:
    assert ends_with(error, FakeContext(superseded=True)) == "dropped"


def test_a_failure_of_a_segment_that_another_attempt_has_is_still_shown() -> None:
    with pytest.raises(ModelUnavailable):
        ends_with(ModelUnavailable("x"), FakeContext(superseded=True))


def test_an_engine_that_stays_down_costs_no_attempt_and_starts_nothing() -> None:
    context = FakeContext(engine_is_up=False)
    made = attempt(context)
    with made.settled():
        made.start()
    assert context.calls == [Action.REASSIGN, "wake"]
    with pytest.raises(EngineDown):
        attempt(context).start()


def test_a_result_waits_for_redis() -> None:
    context = FakeContext(outages=3)
    attempt(context).finish(RESULT)
    assert context.calls == ["finish"]


def test_a_result_does_not_wait_for_redis_once_the_node_must_stop() -> None:
    slot = Slot()
    slot.stop(SlotLost())
    with pytest.raises(SlotLost):
        attempt(FakeContext(outages=3), slot).finish(RESULT)


def test_a_window_reports_progress_but_not_more_often_than_the_interval() -> None:
    context = FakeContext()
    shown: list[float] = []
    made = attempt(context, shown=shown)
    made.checkpoint(0.0)
    made.checkpoint(30.0)
    assert (context.calls, shown) == ([0.0], [0.0])


def test_text_is_reported_once_and_the_first_text_at_once() -> None:
    context = FakeContext()
    made = attempt(context)
    made.checkpoint(0.0)
    made.note_text(" Hello")
    made.checkpoint(30.0)
    made.note_text(" Hello there.")
    made.checkpoint(60.0)  # waits for the interval, as progress does
    assert context.calls == [0.0, (30.0, " Hello")]


def test_text_that_redis_did_not_take_is_reported_again() -> None:
    context = FakeContext(redis_is_up=False)
    made = attempt(context)
    made.note_text(" Hello")
    made.checkpoint(30.0)
    context.redis_is_up = True
    made.checkpoint(30.0)
    assert context.calls == [(30.0, " Hello"), (30.0, " Hello")]


def test_without_redis_the_work_goes_on_and_no_event_is_sent() -> None:
    shown: list[float] = []
    attempt(FakeContext(redis_is_up=False), shown=shown).checkpoint(0.0)
    assert shown == []


def test_a_stopped_slot_ends_at_the_next_window() -> None:
    slot = Slot()
    slot.stop(JobCancelled(job="job"))  # type: ignore[arg-type]  # any error will do
    with pytest.raises(JobCancelled):
        attempt(FakeContext(), slot).checkpoint(0.0)


def test_a_language_waits_for_redis_as_a_result_does() -> None:
    context = FakeContext(outages=2)
    assert attempt(context).set_language("de", 0.75) == "de"
    assert context.calls == [("de", 0.75)]
