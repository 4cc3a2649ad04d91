"""The messages between a node and its feeders, as JSON over one connection per segment.

The node begins with a segment. The feeder answers with its result or its failure; before that, it may ask several
times, and waits each time until the node lets it go on. A node that ends the attempt closes the connection.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from whisper_fleet.shared.wire import SegmentResult, SegmentWork, Wire

#: A line on a feeder's standard input, on which it reads the settings file again.
RELOAD = b"reload\n"


class Begin(Wire):
    """Transcribe a segment."""

    kind: Literal["begin"] = "begin"
    work: SegmentWork


class Continue(Wire):
    """Go on."""

    kind: Literal["continue"] = "continue"
    language: str | None = None  # the answer to Detected


class Window(Wire):
    """The feeder is about to transcribe a window."""

    kind: Literal["window"] = "window"
    seconds_done: float  # of the segment's audio
    text: str | None = None  # of the segment up to here; None: as in the message before


class Enter(Wire):
    """The feeder needs the engine from now on, until the segment ends."""

    kind: Literal["enter"] = "enter"
    alone: bool


class Detected(Wire):
    """The feeder found the language of the job."""

    kind: Literal["detected"] = "detected"
    language: str
    probability: float


class Done(Wire):
    """The segment is transcribed."""

    kind: Literal["done"] = "done"
    result: SegmentResult


class Failed(Wire):
    """The transcription ended with an error; `error` is the name of its class."""

    kind: Literal["failed"] = "failed"
    error: str
    message: str


Question = Window | Enter | Detected
FromFeeder = Question | Done | Failed
_from_feeder: TypeAdapter[FromFeeder] = TypeAdapter(Annotated[FromFeeder, Field(discriminator="kind")])


def read_from_feeder(text: bytes) -> FromFeeder:
    """Return a feeder's message; pydantic's ValidationError if it is none."""
    return _from_feeder.validate_json(text, extra="ignore")
