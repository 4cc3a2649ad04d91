"""What an attempt still does when something fails at its very end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from whisper_fleet.shared.ledger.records import Finish
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobProgress, SegmentMessage, SegmentResult
from whisper_fleet.workers.node import attempt
from whisper_fleet.workers.node.attempt import Attempt
from whisper_fleet.workers.pool.slots import Slot

MESSAGE = SegmentMessage(job="job", segment=0, token="token")
RESULT = SegmentResult(text="", language="en", segments=(), gpu="h.0", decode_seconds=0.0, transcribe_seconds=0.0)


def test_the_last_segment_calls_for_assembly_though_its_progress_cannot_be_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def show(*_: object) -> None:
        raise RedisConnectionError("just now")

    announced: list[str] = []
    ledger = SimpleNamespace(finish=lambda *_: Finish(last=True, progress=JobProgress(stage="assembling")))
    node: Any = SimpleNamespace(
        settings=Settings(),
        ledger=ledger,
        app=None,
        fail_fast=None,
        poke=lambda: None,
        publish_assemble=announced.append,
    )
    monkeypatch.setattr(attempt, "show", show)
    last = Attempt(node, MESSAGE, Slot(), lambda _: None)
    with last.settled():
        last.finish(RESULT)
    assert announced == ["job"]
    assert last.outcome == "done"
