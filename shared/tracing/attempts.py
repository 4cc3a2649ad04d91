"""The spans of one attempt at a segment: waiting for the GPU, the attempt itself, decoding and transcribing in it.

The caller is the task of a GPU node. Feeders and engines send no spans: what they took is in the result.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from whisper_fleet.shared import tracing
from whisper_fleet.shared.wire import SegmentMessage, SegmentResult, SegmentWork


class AttemptTrace:
    """The parts of an attempt that are known when it ends."""

    def __init__(self, header: str | None) -> None:
        self._header = header
        self._began = time.time()

    def note(self, result: SegmentResult) -> None:
        """Record how long the attempt read its audio, and how long it transcribed."""
        decoded = self._began + result.decode_seconds
        tracing.record_span("read audio", self._header, self._began, decoded)
        tracing.record_span("transcribe", self._header, decoded, decoded + result.transcribe_seconds)


@contextmanager
def traced(message: SegmentMessage, work: SegmentWork, gpu: str) -> Iterator[AttemptTrace]:
    """Trace an attempt while the context lasts; the error that ends it is the span's."""
    if work.waits_since is not None and work.attempt == 1:
        tracing.record_span("wait for a GPU", work.trace, work.waits_since, time.time(), segment=message.segment)
    job, segment = message.job, message.segment
    with tracing.span("attempt", work.trace, job=job, segment=segment, attempt=work.attempt, gpu=gpu) as header:
        yield AttemptTrace(header)
