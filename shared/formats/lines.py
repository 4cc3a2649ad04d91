"""Divides the words of a transcript into subtitles and lines, as whisper's `SubtitlesWriter` does. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from whisper_fleet.shared.formats.layout import SubtitleLayout
from whisper_fleet.shared.transcript import Segment, Word

# Whisper's own limits for a job that sets none.
_LINE_CHARACTERS = 1000
_LINE_WORDS = 1000
#: Seconds between the beginnings of two words that end a subtitle that is filled across segments.
_LONG_PAUSE = 3.0


class PlacedWord(NamedTuple):
    """A word as it is shown: with the space or the line break before it. Times are seconds."""

    text: str
    start: float
    end: float


class Block(NamedTuple):
    """The words of one subtitle, and the segment of the first."""

    segment: Segment
    words: list[PlacedWord]


def blocks(segments: Sequence[Segment], layout: SubtitleLayout) -> Iterator[Block]:
    """Yield the subtitles of segments that have words. A new speaker begins a new one."""
    filler = _Filler(layout, next((word.start for word in chain.from_iterable(map(_words, segments))), 0.0))
    most = layout.max_words_per_line or _LINE_WORDS
    for segment in segments:
        for index, word in enumerate(_words(segment)):
            if (full := filler.add(segment, word, is_first=index % most == 0)) is not None:
                yield full
    if filler.block is not None:
        yield filler.block


def _words(segment: Segment) -> Sequence[Word]:
    return segment.words or ()


class _Filler:
    """The subtitle that is being filled, and its last line."""

    def __init__(self, layout: SubtitleLayout, first_start: float) -> None:
        self._layout = layout
        self._width = layout.max_line_width or _LINE_CHARACTERS
        self._last_start = first_start
        self._line_length, self._lines = 0, 1
        self.block: Block | None = None

    def add(self, segment: Segment, word: Word, *, is_first: bool) -> Block | None:
        """Add a word, the first of its segment or of as many words as a line may have; return what it completed."""
        is_pause = not self._layout.keeps_segments and word.start - self._last_start > _LONG_PAUSE
        must_break = self.block is not None and self._ends_before(segment, is_first=is_first)
        self._last_start = word.start
        has_room = self._line_length + len(word.word) <= self._width
        if self.block and self._line_length > 0 and has_room and not is_pause and not must_break:
            self._line_length += len(word.word)
            self.block.words.append(PlacedWord(word.word, word.start, word.end))
            return None
        return self._new_line(segment, word, must_break=must_break or self._is_full(is_pause=is_pause))

    def _ends_before(self, segment: Segment, *, is_first: bool) -> bool:
        if self._layout.keeps_segments:
            return is_first
        return self.block is not None and segment.speaker != self.block.segment.speaker

    def _is_full(self, *, is_pause: bool) -> bool:
        most = self._layout.max_line_count
        return self.block is not None and most is not None and (is_pause or self._lines >= most)

    def _new_line(self, segment: Segment, word: Word, *, must_break: bool) -> Block | None:
        text, full = word.word.strip(), None
        if must_break or self.block is None:
            full, self.block, self._lines = self.block, Block(segment, []), 1
            separator = ""
        else:
            separator = "\n" if self._line_length > 0 else ""
            self._lines += len(separator)
        self._line_length = len(text)
        self.block.words.append(PlacedWord(separator + text, word.start, word.end))
        return full
