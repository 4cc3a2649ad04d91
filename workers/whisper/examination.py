"""Examines a segment's transcript for invented text, and drops what nobody said if the job asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from whisper_fleet.shared.evidence import speech
from whisper_fleet.shared.evidence.signs import SPEECHLESS, cheap_signs, judged
from whisper_fleet.shared.transcript import Segment
from whisper_fleet.shared.wire import TranscribeRequest

#: Returns the share of speech, 0 to 1, between two moments in seconds.
Hear = Callable[[float, float], float]


def examine(
    segments: Sequence[Segment], audio: NDArray[np.float32], request: TranscribeRequest, checkpoint: Callable[[], None]
) -> tuple[Segment, ...]:
    """Return the segments with what makes them suspect, without those that the voice filter drops.

    `checkpoint` is called before each use of the detector, which takes up to two seconds. What it raises passes
    through.
    """

    def hear(start: float, end: float) -> float:
        checkpoint()
        return speech.share_of_speech(audio, start, end)

    if request.vad == "filter":
        segments = [segment for segment in segments if hear(segment.start, segment.end) >= SPEECHLESS]
    if request.evidence:
        return marked(segments, hear if speech.is_available() else None)
    return tuple(segments)


def marked(segments: Sequence[Segment], hear: Hear | None) -> tuple[Segment, ...]:
    """Return the segments with their signs of invented text; only those that show one are listened to."""
    return tuple(
        _marked(segment, judged(signs, hear(segment.start, segment.end) if hear else None)) if signs else segment
        for segment, signs in zip(segments, cheap_signs(segments), strict=True)
    )


def _marked(segment: Segment, reasons: tuple[str, ...]) -> Segment:
    return segment.model_copy(update={"suspect": reasons}) if reasons else segment
