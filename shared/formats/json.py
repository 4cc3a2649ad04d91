"""The transcript with everything that whisper returned."""

from __future__ import annotations

from json import dumps

from whisper_fleet.shared.formats.layout import PLAIN, SubtitleLayout
from whisper_fleet.shared.transcript import Transcript


def write(transcript: Transcript, _: SubtitleLayout = PLAIN) -> str:
    """Return one line of JSON in ASCII."""
    return dumps(transcript.to_dict())
