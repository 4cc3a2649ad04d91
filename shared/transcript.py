"""The transcript: typed from the slot that makes it to the file that a user reads.

Names, order and numbers of the fields are those of `whisper.transcribe()`, so the JSON is whisper's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from pydantic import SerializerFunctionWrapHandler, model_serializer

from whisper_fleet.shared.serialization import Wire


class _Span(Wire):
    """A stretch of speech. A field that whisper always gives is serialised also when it is None (NaN in whisper)."""

    _required: ClassVar[dict[str, None]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls._required = dict.fromkeys(name for name, field in cls.model_fields.items() if field.is_required())

    @model_serializer(mode="wrap")
    def _with_every_required_field(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {**self._required, **serialize(self)}


class Word(_Span):
    """One word with its times, which are seconds."""

    word: str  # with the space before it
    start: float
    end: float
    probability: float | None  # 0 to 1
    speaker: str | None = None  # set by a post-processor


class Segment(_Span):
    """One segment of whisper's: about a sentence. Times are seconds."""

    id: int  # 0 is the first of the transcript
    seek: int  # frame of 10 ms at which the decoded window begins
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float | None
    avg_logprob: float | None
    compression_ratio: float | None
    no_speech_prob: float | None
    words: tuple[Word, ...] | None = None  # None: the job did not ask for them
    speaker: str | None = None  # set by a post-processor
    suspect: tuple[str, ...] | None = None  # why the text may be invented; None: nothing suggests it


class Transcript(Wire):
    """What `whisper.transcribe()` returns for a recording."""

    text: str
    segments: tuple[Segment, ...]
    language: str  # whisper's language code

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, dicts and numbers, in the order of whisper's keys."""
        return self.model_dump(mode="json", exclude_none=True)


def segments_from_whisper(segments: Iterable[dict[str, Any]]) -> tuple[Segment, ...]:
    """Read the segments that `whisper.transcribe()` returned; numpy's numbers become Python's."""
    return tuple(Segment.model_validate(segment, extra="ignore") for segment in segments)
