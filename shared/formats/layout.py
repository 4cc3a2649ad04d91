"""How a job's subtitles are divided into lines, with the options and defaults of whisper's writers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SubtitleLayout:
    """The options of a job; None stands for one that it left out. They need a transcript with word timestamps."""

    max_line_width: int | None = None  # characters
    max_line_count: int | None = None  # lines per subtitle; without a width it has no effect
    max_words_per_line: int | None = None
    highlight_words: bool = False  # one subtitle per word, which is underlined in it

    @property
    def keeps_segments(self) -> bool:
        """Whether every segment begins a subtitle; else subtitles are filled across segments."""
        return self.max_line_count is None or self.max_line_width is None


#: The subtitles of a job that sets no option.
PLAIN = SubtitleLayout()
