"""From the results of segments to the transcript of the job. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.wire import SegmentPlan, SegmentResult

#: Frames of whisper's mel spectrogram in a second; `seek` counts them.
_FRAMES = 100


def merge(plans: Sequence[SegmentPlan], results: Sequence[SegmentResult]) -> dict[str, Any]:
    """The result that whisper.transcribe() would have given for the whole: text, segments, language.

    A window that is not full is silence to whisper from there on, into which it puts the end of what it heard, by up
    to seconds. In the middle of a file nothing is silent there: what comes next would begin before that end.
    """
    segments: list[dict[str, Any]] = []
    for plan, result in zip(plans, results, strict=True):
        latest = math.inf if plan is plans[-1] else plan.end
        for segment in result.segments:
            segments.append(_moved(segment, plan.start, latest, len(segments)))
    text = "".join(result.text for result in results)
    return {"text": text, "segments": segments, "language": spoken_language(plans, results)}


def spoken_language(plans: Sequence[SegmentPlan], results: Sequence[SegmentResult]) -> str:
    """The language of most of the audio in which anything was said."""
    seconds: dict[str, float] = defaultdict(float)
    for plan, result in zip(plans, results, strict=True):
        # Silence counts a little: where nothing is said at all, its language is the answer.
        seconds[result.language] += plan.end - plan.start if result.text.strip() else 1e-6
    return max(seconds, key=seconds.__getitem__)


def timings(record: JobRecord, results: Sequence[SegmentResult], now: float) -> dict[str, float]:
    """Where the time went, in seconds."""
    started = record.started or now
    return {
        "waited": round(started - record.accepted, 3),
        "decoded_audio": round(sum(result.decode_seconds for result in results), 3),
        "transcribed": round(sum(result.transcribe_seconds for result in results), 3),
        "total": round(now - record.accepted, 3),
    }


def _moved(segment: dict[str, Any], start: float, latest: float, number: int) -> dict[str, Any]:
    """A segment of whisper's with its times relative to the file, none after `latest`, and numbered through."""
    moved = {**segment, "id": number, **_shifted(segment, start, latest)}
    if "seek" in segment:
        moved["seek"] = segment["seek"] + round(start * _FRAMES)
    if "words" in segment:
        moved["words"] = [{**word, **_shifted(word, start, latest)} for word in segment["words"]]
    return moved


def _shifted(span: dict[str, Any], start: float, latest: float) -> dict[str, float]:
    return {edge: round(min(span[edge] + start, latest), 3) for edge in ("start", "end")}
