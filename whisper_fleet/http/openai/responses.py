"""A transcript in each of OpenAI's formats. Pure."""

from __future__ import annotations

import math
import re
from typing import Literal

from pydantic import BaseModel

from whisper_fleet.http.openai.options import AudioOptions, Task
from whisper_fleet.outcome import JobResult
from whisper_fleet.shared.formats.subtitles import write_srt, write_vtt
from whisper_fleet.shared.request.languages import LANGUAGES
from whisper_fleet.shared.transcript import Segment

#: The times of a WebVTT subtitle before the first hour: OpenAI always writes the hours, Whisper does not.
_SHORT_TIMES = re.compile(r"^(\d\d:\d\d\.\d{3}) --> (\d\d:\d\d\.\d{3})$", re.MULTILINE)


class Usage(BaseModel):
    """What is counted: seconds of audio, rounded up."""

    type: Literal["duration"] = "duration"
    seconds: int


class Transcription(BaseModel):
    """`json`."""

    text: str
    usage: Usage


class VerboseSegment(BaseModel):
    """A segment of `verbose_json`; times are seconds."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class VerboseWord(BaseModel):
    """A word of `verbose_json`."""

    word: str
    start: float
    end: float


class VerboseTranscription(BaseModel):
    """`verbose_json`; segments and words are left out where they were not asked for."""

    task: Literal["transcribe", "translate"]
    language: str
    duration: float
    text: str
    segments: list[VerboseSegment] | None = None
    words: list[VerboseWord] | None = None
    usage: Usage


def body_of(result: JobResult, options: AudioOptions, task: Task) -> BaseModel | str:
    """Return the body of the response: an object, or text."""
    match options.response_format:
        case "text":
            return f"{result.text.strip()}\n"
        case "srt":
            return write_srt(result)
        case "vtt":
            return _SHORT_TIMES.sub(r"00:\1 --> 00:\2", write_vtt(result))
        case "verbose_json":
            return _verbose(result, options, task)
    return Transcription(text=result.text.strip(), usage=usage_of(result))


def usage_of(result: JobResult) -> Usage:
    """Return what a transcript counts as."""
    return Usage(seconds=math.ceil(result.duration_s or 0.0))


def _verbose(result: JobResult, options: AudioOptions, task: Task) -> VerboseTranscription:
    words = [
        VerboseWord(word=word.word.strip(), start=word.start, end=word.end)
        for segment in result.segments
        for word in segment.words or ()
    ]
    return VerboseTranscription(
        task=task,
        language=LANGUAGES.get(result.language, result.language),
        duration=float(result.duration_s or 0.0),
        text=result.text.strip(),
        segments=[_segment(segment) for segment in result.segments] if options.has_segments else None,
        words=words if options.has_words else None,
        usage=usage_of(result),
    )


def _segment(segment: Segment) -> VerboseSegment:
    """Return a segment with numbers throughout: where Whisper computes none, it is a 0."""
    return VerboseSegment(
        id=segment.id,
        seek=segment.seek,
        start=segment.start,
        end=segment.end,
        text=segment.text,
        tokens=list(segment.tokens),
        temperature=segment.temperature or 0.0,
        avg_logprob=segment.avg_logprob or 0.0,
        compression_ratio=segment.compression_ratio or 0.0,
        no_speech_prob=segment.no_speech_prob or 0.0,
    )
