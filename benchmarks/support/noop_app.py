"""A GPU node whose segments do nothing: all of the node's bookkeeping, none of its work."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from celery import Celery

from whisper_fleet.shared import names
from whisper_fleet.shared.connect import connect
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.wakeup import wake_dispatcher
from whisper_fleet.shared.settings import load_settings
from whisper_fleet.shared.wire import SegmentMessage, SegmentResult
from whisper_fleet.workers.node.attempt import Attempt
from whisper_fleet.workers.pool.slots import current_slot

app = Celery("whisper_fleet")
app.config_from_object("whisper_fleet.celeryconfig")

_settings = load_settings()
_redis = connect(_settings.redis_url)
_ledger = Ledger(_redis, max_attempts=_settings.max_attempts, retention=_settings.job_retention)
_RESULT = SegmentResult(text="", language="en", segments=(), gpu="bench.0", decode_seconds=0.0, transcribe_seconds=0.0)

#: What an attempt needs of its node when there is neither engine nor audio.
_NODE = SimpleNamespace(
    app=app,
    settings=_settings,
    gpu=str(names.GpuName(_settings.host, 0)),
    redis=_redis,
    fail_fast=_redis,
    ledger=_ledger,
    fail_fast_ledger=_ledger,
    engine=SimpleNamespace(wait_ready=lambda _: True),
    poke=lambda: wake_dispatcher(app, _redis),
    publish_assemble=lambda _: None,
)


@app.task(name="noop", ignore_result=True)
def noop() -> None:
    """What bare Celery is measured with."""


@app.task(name=names.TRANSCRIBE_SEGMENT, ignore_result=True)
def transcribe_segment(job: str, segment: int, token: str) -> None:
    """The node's own steps around a transcription that is not made."""
    message = SegmentMessage(job=job, segment=segment, token=token)
    attempt = Attempt(cast("Any", _NODE), message, current_slot(), lambda _: None)
    with attempt.settled():
        attempt.start()
        attempt.finish(_RESULT)
