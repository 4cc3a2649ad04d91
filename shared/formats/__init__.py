"""Output formats: what a transcript looks like as a file. A new format is one module, and one line in WRITERS.

The files are, byte for byte, those of whisper's own writers (`whisper.utils`), which need torch.
"""

from __future__ import annotations

from typing import Protocol

from whisper_fleet.shared.formats import json, subtitles, tsv, txt
from whisper_fleet.shared.formats.layout import PLAIN, SubtitleLayout
from whisper_fleet.shared.transcript import Transcript


class Writer(Protocol):
    """Returns the contents of a file. Formats without subtitles ignore the layout."""

    def __call__(self, transcript: Transcript, layout: SubtitleLayout = PLAIN, /) -> str: ...


#: By the name of the format, which is also the extension of its files.
WRITERS: dict[str, Writer] = {
    "txt": txt.write,
    "srt": subtitles.write_srt,
    "vtt": subtitles.write_vtt,
    "tsv": tsv.write,
    "json": json.write,
}
FORMATS = tuple(WRITERS)
