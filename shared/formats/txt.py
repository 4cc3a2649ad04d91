"""Plain text: one line per segment."""

from __future__ import annotations

from whisper_fleet.shared.formats.layout import PLAIN, SubtitleLayout
from whisper_fleet.shared.transcript import Segment, Transcript


def write(transcript: Transcript, _: SubtitleLayout = PLAIN) -> str:
    """Return the text, after the name of the speaker where it is known."""
    return "".join(f"{by_speaker(segment, segment.text.strip())}\n" for segment in transcript.segments)


def by_speaker(segment: Segment, text: str) -> str:
    """Return the text with its speaker before it, if a post-processor named one."""
    return text if segment.speaker is None else f"[{segment.speaker}]: {text}"
