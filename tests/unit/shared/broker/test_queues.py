"""The layout of Celery's queues in Redis is Kombu's own."""

from __future__ import annotations

from whisper_fleet.shared.broker.queues import _lists


def test_a_queue_lies_in_one_list_per_step_of_priority() -> None:
    assert _lists("transcribe") == ["transcribe", "transcribe\x06\x163", "transcribe\x06\x166", "transcribe\x06\x169"]
