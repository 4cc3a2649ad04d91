"""Tab-separated values: start and end in whole milliseconds, and the text."""

from __future__ import annotations

from whisper_fleet.shared.formats.layout import PLAIN, SubtitleLayout
from whisper_fleet.shared.transcript import Segment, Transcript


def write(transcript: Transcript, _: SubtitleLayout = PLAIN) -> str:
    """Return a heading, and one line per segment."""
    return "start\tend\ttext\n" + "".join(map(_line, transcript.segments))


def _line(segment: Segment) -> str:
    text = segment.text.strip().replace("\t", " ")
    return f"{round(1000 * segment.start)}\t{round(1000 * segment.end)}\t{text}\n"
