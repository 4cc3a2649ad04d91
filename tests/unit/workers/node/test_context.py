"""What an attempt's steps do in Redis when Redis fails halfway."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from whisper_fleet.shared.errors import ModelUnavailable
from whisper_fleet.shared.ledger.records import Finish
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobProgress, SegmentMessage, SegmentResult
from whisper_fleet.workers.node import context as context_module
from whisper_fleet.workers.node.connections import Connections, LedgerClient
from whisper_fleet.workers.node.context import NodeContext
from whisper_fleet.workers.node.outcomes import Action, JobRevoked

MESSAGE = SegmentMessage(job="job", segment=0, token="token")
RESULT = SegmentResult(text="", language="en", segments=(), gpu="h.0", decode_seconds=0.0, transcribe_seconds=0.0)


class FakeLedger:
    """A ledger out of reach."""

    def now(self) -> float:
        return 1000.0

    def progress(self, *_: object, **__: object) -> JobProgress:
        raise RedisConnectionError("just now")


class FakeActions:
    """Keeps what is done."""

    def __init__(self) -> None:
        self.done: list[tuple[object, ...]] = []

    def finish(self, message: SegmentMessage, *_: object) -> Finish:
        self.done.append(("finish", message.job))
        return Finish(last=True, progress=JobProgress(stage="assembling"))

    def fail(self, *arguments: object) -> bool:
        self.done.append(("fail", *arguments[:-1]))
        return True

    def cancel(self, *arguments: object) -> bool:
        self.done.append(("cancel", *arguments[:-1]))
        return False

    def free_slot(self, message: SegmentMessage, now: float) -> None:
        self.done.append(("free", message.token))


def made(actions: FakeActions) -> NodeContext:
    client = LedgerClient(redis=None, ledger=FakeLedger(), actions=actions)  # type: ignore[arg-type]
    app: Any = None
    connections = Connections(app=app, retrying=client, fail_fast=client)
    return NodeContext("h.0", Settings(host="h"), connections, lambda _: True)


def test_a_segment_is_finished_though_its_progress_cannot_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def show(*_: object) -> None:
        raise RedisConnectionError("just now")

    monkeypatch.setattr(context_module, "show", show)
    actions = FakeActions()
    made(actions).finish(MESSAGE, RESULT)
    assert actions.done == [("finish", "job")]


def test_a_report_that_redis_does_not_take_ends_no_attempt() -> None:
    assert not made(FakeActions()).report(MESSAGE, 30.0, None)


def test_a_missing_model_names_the_host_that_misses_it() -> None:
    actions = FakeActions()
    made(actions).end(MESSAGE, Action.FAIL, ModelUnavailable("it is not there"))
    assert actions.done == [("fail", "job", "ModelUnavailable", "it is not there (h)"), ("free", "token")]


def test_an_attempt_whose_job_was_revoked_frees_its_slot_whoever_cancelled_the_job_first() -> None:
    actions = FakeActions()
    made(actions).end(MESSAGE, Action.CANCEL, JobRevoked(job="job"))
    assert actions.done == [("cancel", "job"), ("free", "token")]
