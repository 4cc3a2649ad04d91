"""Subtitles, as SubRip (.srt) and WebVTT (.vtt)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from whisper_fleet.shared.formats.txt import by_speaker
from whisper_fleet.shared.transcript import Segment, Transcript, Word

# Whisper's own limits for a job that sets none.
_LINE_CHARACTERS = 1000
_SUBTITLE_WORDS = 1000


class _Subtitle(NamedTuple):
    start: float  # seconds
    end: float
    text: str


def write_srt(transcript: Transcript) -> str:
    """Return numbered subtitles; times always have hours."""
    blocks = [
        f"{number}\n{_time(start, ',', hours=True)} --> {_time(end, ',', hours=True)}\n{text}\n\n"
        for number, (start, end, text) in enumerate(_subtitles(transcript), start=1)
    ]
    return "".join(blocks)


def write_vtt(transcript: Transcript) -> str:
    """Return subtitles for the web; times have hours from the first hour on."""
    blocks = [f"{_time(start, '.')} --> {_time(end, '.')}\n{text}\n\n" for start, end, text in _subtitles(transcript)]
    return "WEBVTT\n\n" + "".join(blocks)


def _subtitles(transcript: Transcript) -> Iterator[_Subtitle]:
    """Yield one subtitle per segment, timed by its words if the transcript has them.

    Whisper gives an empty list of words to a segment without text in a job without word timestamps, too, so only a
    transcript whose every segment has words is timed by them.
    """
    if all(segment.words is not None for segment in transcript.segments):
        for segment in transcript.segments:
            yield from _of_words(segment, segment.words or ())
        return
    for segment in transcript.segments:
        text = segment.text.strip().replace("-->", "->")
        yield _Subtitle(segment.start, segment.end, by_speaker(segment, text))


def _of_words(segment: Segment, words: Sequence[Word]) -> Iterator[_Subtitle]:
    for first in range(0, len(words), _SUBTITLE_WORDS):
        shown = words[first : first + _SUBTITLE_WORDS]
        yield _Subtitle(shown[0].start, shown[-1].end, by_speaker(segment, _lines(shown)))


def _lines(words: Sequence[Word]) -> str:
    """Join words into lines of limited length."""
    text, length = "", 0
    for word in (word.word for word in words):
        if length and length + len(word) <= _LINE_CHARACTERS:
            text, length = text + word, length + len(word)
        else:
            separator, stripped = "\n" if length else "", word.strip()
            text, length = text + separator + stripped, len(stripped)
    return text


def _time(seconds: float, decimal_marker: str, *, hours: bool = False) -> str:
    """Return `[hh:]mm:ss.mmm`."""
    whole, milliseconds = divmod(round(seconds * 1000.0), 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    prefix = f"{hour:02d}:" if hours or hour else ""
    return f"{prefix}{minute:02d}:{second:02d}{decimal_marker}{milliseconds:03d}"
