"""Subtitles, as SubRip (.srt) and WebVTT (.vtt)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from whisper_fleet.shared.formats.layout import PLAIN, SubtitleLayout
from whisper_fleet.shared.formats.lines import Block, blocks
from whisper_fleet.shared.formats.txt import by_speaker
from whisper_fleet.shared.transcript import Transcript


class _Subtitle(NamedTuple):
    start: str  # [hh:]mm:ss.mmm
    end: str
    text: str


class _Clock:
    """Writes times as one of the formats does."""

    def __init__(self, decimal_marker: str, *, always_hours: bool) -> None:
        self._decimal_marker, self._always_hours = decimal_marker, always_hours

    def __call__(self, seconds: float) -> str:
        whole, milliseconds = divmod(round(seconds * 1000.0), 1000)
        minutes, second = divmod(whole, 60)
        hour, minute = divmod(minutes, 60)
        prefix = f"{hour:02d}:" if self._always_hours or hour else ""
        return f"{prefix}{minute:02d}:{second:02d}{self._decimal_marker}{milliseconds:03d}"


_SRT_CLOCK = _Clock(",", always_hours=True)
_VTT_CLOCK = _Clock(".", always_hours=False)


def write_srt(transcript: Transcript, layout: SubtitleLayout = PLAIN) -> str:
    """Return numbered subtitles; times always have hours."""
    numbered = enumerate(_subtitles(transcript, layout, _SRT_CLOCK), start=1)
    return "".join(f"{number}\n{start} --> {end}\n{text}\n\n" for number, (start, end, text) in numbered)


def write_vtt(transcript: Transcript, layout: SubtitleLayout = PLAIN) -> str:
    """Return subtitles for the web; times have hours from the first hour on."""
    subtitles = _subtitles(transcript, layout, _VTT_CLOCK)
    return "WEBVTT\n\n" + "".join(f"{start} --> {end}\n{text}\n\n" for start, end, text in subtitles)


def _subtitles(transcript: Transcript, layout: SubtitleLayout, clock: _Clock) -> Iterator[_Subtitle]:
    """Yield the subtitles of a transcript, timed by its words if it has them, else one per segment.

    Whisper gives an empty list of words to a segment without text in a job without word timestamps, too, so only a
    transcript whose every segment has words is timed by them.
    """
    if all(segment.words is not None for segment in transcript.segments):
        for block in blocks(transcript.segments, layout):
            yield from _highlighted(block, clock) if layout.highlight_words else _plain(block, clock)
        return
    for segment in transcript.segments:
        text = segment.text.strip().replace("-->", "->")
        yield _Subtitle(clock(segment.start), clock(segment.end), by_speaker(segment, text))


def _plain(block: Block, clock: _Clock) -> Iterator[_Subtitle]:
    text = by_speaker(block.segment, "".join(word.text for word in block.words))
    yield _Subtitle(clock(block.words[0].start), clock(block.words[-1].end), text)


def _highlighted(block: Block, clock: _Clock) -> Iterator[_Subtitle]:
    """Yield the block once per word, which is underlined while it is spoken, and plain in the pauses between."""
    texts = [word.text for word in block.words]
    show = partial(by_speaker, block.segment)
    last = clock(block.words[0].start)
    for index, word in enumerate(block.words):
        start, end = clock(word.start), clock(word.end)
        if last != start:
            yield _Subtitle(last, start, show("".join(texts)))
        underlined = re.sub(r"^(\s*)(.*)$", r"\1<u>\2</u>", word.text)
        yield _Subtitle(start, end, show("".join([*texts[:index], underlined, *texts[index + 1 :]])))
        last = end
