"""From the results of segments to the transcript and the result of the job. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.transcript import Segment, Transcript, Word
from whisper_fleet.shared.wire import SegmentPlan, SegmentResult

#: Frames of whisper's mel spectrogram per second; `Segment.seek` counts them.
_FRAMES_PER_SECOND = 100

S = TypeVar("S", Segment, Word)


def merge(plans: Sequence[SegmentPlan], results: Sequence[SegmentResult]) -> Transcript:
    """Return the transcript that `whisper.transcribe()` would have returned for the complete recording.

    Whisper pads a window that is not full with silence and may place the end of a segment in that silence, seconds
    late. Between two pieces of a file there is no silence, and the next piece would begin before that end, so no time
    is later than its piece's cut. The language is that of the first piece, in which whisper detects it, too.
    """
    segments: list[Segment] = []
    for plan, result in zip(plans, results, strict=True):
        latest = math.inf if plan is plans[-1] else plan.end
        for segment in result.segments:
            segments.append(_moved(segment, plan.start, latest, len(segments)))
    text = "".join(result.text for result in results)
    return Transcript(text=text, segments=tuple(segments), language=results[0].language)


def result_of(
    record: JobRecord, transcript: Transcript, results: Sequence[SegmentResult], files: Sequence[str], now: float
) -> dict[str, Any]:
    """Return what the client receives: whisper's result, and how the fleet made it. `now` is Unix seconds."""
    detected = {} if record.language_probability is None else {"language_probability": record.language_probability}
    return {
        **transcript.to_dict(),
        **detected,
        "duration_s": record.duration,
        "model": record.request.model_name,
        "segment_gpus": [result.gpu for result in results],
        "output_files": list(files),
        "timings": _timings(record, results, now),
        **({"warnings": [one.model_dump(exclude_none=True) for one in record.warnings]} if record.warnings else {}),
    }


def _timings(record: JobRecord, results: Sequence[SegmentResult], now: float) -> dict[str, float]:
    """Return how long each step took, in seconds."""
    started = record.started or now
    due = max(record.accepted, record.not_before or 0.0)
    return {
        "waited": round(started - due, 3),
        "decoded_audio": round(sum(result.decode_seconds for result in results), 3),
        "transcribed": round(sum(result.transcribe_seconds for result in results), 3),
        "total": round(now - due, 3),
    }


def _moved(segment: Segment, start: float, latest: float, number: int) -> Segment:
    """Return a segment numbered through the file, with times from the file's beginning and none after `latest`."""
    words = segment.words and tuple(_changed(word, **_times(word, start, latest)) for word in segment.words)
    seek = segment.seek + round(start * _FRAMES_PER_SECOND)
    return _changed(segment, id=number, seek=seek, words=words, **_times(segment, start, latest))


def _times(span: Segment | Word, start: float, latest: float) -> dict[str, Any]:
    return {"start": round(min(span.start + start, latest), 3), "end": round(min(span.end + start, latest), 3)}


def _changed(span: S, **changes: Any) -> S:
    # Ten hours have 100,000 words, and pydantic constructs a value in half the time in which it copies one.
    return type(span)(**{**vars(span), **changes})
