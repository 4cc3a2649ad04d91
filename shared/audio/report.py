"""What ffmpeg reports about a file and its decoding, read from its log. Pure.

The log must have been written with `-v level+info`. Its form is the same from ffmpeg 4 to 9, as far as it is read here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import pairwise

_LINE = re.compile(r"^(?P<sources>(?:\[[^\]]*\] )*?)\[(?P<level>info|warning|error|fatal|panic)\] (?P<text>.*)$")
_STREAM = re.compile(
    r"^\s+Stream #0:(?P<index>\d+)(?:\[0x[0-9a-f]+\])?(?:\((?P<language>\w+)\))?"
    r": (?P<type>\w+): (?P<codec>\w+)(?P<rest>.*)"
)
_TITLE = re.compile(r"^\s+title\s*: (.*)$", re.IGNORECASE)
_MAPPED = re.compile(r"^\s+Stream #0:(\d+) -> #0:0 ")
_DURATION = re.compile(r"^\s+Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_END = re.compile(r"^size=.* time=(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, kw_only=True)
class Track:
    """One audio track of a file."""

    number: int  # 0 is the first audio track
    index: int  # among all of the file's streams
    channels: str  # ffmpeg's name of their layout, such as mono or 5.1(side)
    language: str | None = None
    title: str | None = None

    def __str__(self) -> str:
        facts = [self.channels, self.language, self.title and f'"{self.title}"']
        return f"{self.number} ({', '.join(filter(None, facts))})"


@dataclass(frozen=True, kw_only=True)
class DecodeReport:
    """What is known about a file and its decoding after ffmpeg has ended. Times are seconds of the file's own time."""

    tracks: tuple[Track, ...] = ()
    chosen: Track | None = None  # the one that was decoded
    declared: float | None = None  # duration by the file's header; None: it has none, or ffmpeg estimated it
    ended: float | None = None  # the end of the last sample by its timestamp
    has_other_streams: bool = False  # pictures or subtitles
    problems: tuple[str, ...] = ()  # what ffmpeg could not read or decode, in its words

    @property
    def has_other_streams_only(self) -> bool:
        """Whether the file has pictures or subtitles and no sound."""
        return self.has_other_streams and not self.tracks


@dataclass
class _Reader:
    """Reads a log line by line."""

    tracks: list[Track] = field(default_factory=list)
    others: set[str] = field(default_factory=set)  # codecs of other streams
    problems: list[tuple[str, str]] = field(default_factory=list)  # source and message
    declared: float | None = None
    is_estimated: bool = False
    ended: float | None = None
    mapped: int | None = None
    _is_in_input: bool = False
    _last_is_audio: bool = False

    def read(self, line: str) -> None:
        match = _LINE.match(line)
        if match is None:
            return
        sources, level, text = match["sources"], match["level"], match["text"]
        if level == "info":
            self._read_info(text)
        elif level != "warning" or "corrupt" in text.lower():
            self.problems.append((sources, text))
        elif "Estimating duration from bitrate" in text:
            self.is_estimated = True

    def _read_info(self, text: str) -> None:
        if not text.startswith(" "):
            self._is_in_input = text.startswith("Input #0")
        if self._is_in_input:
            self._read_input(text)
        elif match := _MAPPED.match(text):
            self.mapped = self.mapped if self.mapped is not None else int(match[1])
        elif match := _END.match(text):
            self.ended = _seconds(*match.groups())

    def _read_input(self, text: str) -> None:
        if match := _STREAM.match(text):
            self._last_is_audio = match["type"] == "Audio"
            if self._last_is_audio:
                self.tracks.append(_track(match, len(self.tracks)))
            else:
                self.others.add(match["codec"])
        elif (match := _TITLE.match(text)) and self._last_is_audio and self.tracks[-1].title is None:
            self.tracks[-1] = replace(self.tracks[-1], title=_printable(match[1]))
        elif match := _DURATION.match(text):
            self.declared = _seconds(*match.groups())

    def is_about_sound(self, sources: str) -> bool:
        """Return whether a message is not about pictures, which ffmpeg looks at to recognise their format."""
        words = set(re.findall(r"\w+", sources))
        return not words & self.others and "vist" not in words


def read_report(log: str) -> DecodeReport:
    """Return the report in a log of ffmpeg's."""
    reader = _Reader()
    for line in log.split("\n"):
        reader.read(line.rstrip("\r"))
    return DecodeReport(
        tracks=tuple(reader.tracks),
        chosen=next((track for track in reader.tracks if track.index == reader.mapped), None),
        declared=None if reader.is_estimated else reader.declared,
        ended=reader.ended,
        has_other_streams=bool(reader.others),
        problems=tuple(text for sources, text in reader.problems if reader.is_about_sound(sources)),
    )


def first_error(log: str) -> str | None:
    """Return the first message of an error in a log, without its source; None if there is none."""
    for line in log.split("\n"):
        match = _LINE.match(line)
        if match and match["level"] in ("error", "fatal", "panic"):
            return match["text"].strip()
    return None


def _track(match: re.Match[str], number: int) -> Track:
    facts = [fact.strip() for fact in match["rest"].split(",")]
    after_rate = (fact for before, fact in pairwise(facts) if before.endswith(" Hz"))
    language = match["language"]
    return Track(
        number=number,
        index=int(match["index"]),
        channels=next(after_rate, "unknown channels"),
        language=None if language == "und" else language,
    )


def _seconds(hours: str, minutes: str, seconds: str) -> float:
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:_SHOWN_CHARACTERS].strip()
