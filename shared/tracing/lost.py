"""What the ledger knows of an attempt at a segment while it runs; recovery traces attempts whose node has died."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from redis import Redis

from whisper_fleet.shared import tracing
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.wire import SegmentMessage


@contextmanager
def traced_loss(redis: Redis, message: SegmentMessage, reason: str, now: float) -> Iterator[None]:
    """Trace the attempt that the body returns to the queue: its own process died, and sent no span of it."""
    if not tracing.is_on():
        yield
        return
    stored = cast("bytes | None", redis.hget(keys.segments(message.job), str(message.segment)))
    trace = cast("bytes | None", redis.hget(keys.job(message.job), "trace"))
    yield
    attempt = json.loads(stored) if stored else {}
    if "started" in attempt and attempt.get("token") == message.token:
        facts = {"job": message.job, "segment": message.segment, "attempt": attempt["attempt"], "gpu": attempt["gpu"]}
        parent = text(trace) if trace else None
        tracing.record_span("attempt", parent, float(attempt["started"]), now, error=reason, **facts)
