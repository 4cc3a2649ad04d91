"""Looks at a file again where its decoding left a question; each look is bounded, and answers None if it fails."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from whisper_fleet.shared.audio.decode import stream_pcm
from whisper_fleet.shared.audio.ffmpeg import NoOutput, running
from whisper_fleet.shared.audio.levels import MEASURED_SECONDS, peak_of
from whisper_fleet.shared.audio.selection import AudioSelection
from whisper_fleet.shared.errors import RequestError
from whisper_fleet.shared.settings import Settings

_MOST_SECONDS = 60.0
#: A hole in the timestamps that is worth a warning, in seconds: subtitles would be visibly early.
LEAST_GAP = 0.5
#: The greatest sample of a track that has sound: -40 dBFS.
_SOUND = 328


class Packet(NamedTuple):
    """A packet of one stream, in seconds of the file's own time; `end` is `start` if its length is unknown."""

    start: float
    end: float


class Gap(NamedTuple):
    """A hole in the timestamps of a stream, at a position in seconds of its sound alone."""

    at: float
    seconds: float


def gaps(path: Path, index: int, settings: Settings) -> list[Gap] | None:
    """Return the holes in the stream `index`; one at 0 is a late start. Nothing is decoded."""
    try:
        return find_gaps(_packets(path, ["-map", f"0:{index}"], settings))
    except (NoOutput, OSError):
        return None


def last_end(path: Path, settings: Settings) -> float | None:
    """Return the end of the last packet of any audio or video stream."""
    try:
        packets = _packets(path, ["-map", "0:v?", "-map", "0:a?"], settings)
        return max((packet.end for packet in packets), default=None)
    except (NoOutput, OSError):
        return None


def find_gaps(packets: Iterable[Packet]) -> list[Gap]:
    """Return the holes of at least LEAST_GAP between consecutive packets. Small ones add up to one. Pure."""
    found: list[Gap] = []
    position = expected = drift = 0.0
    for packet in packets:
        hole = packet.start - expected
        # Where lengths are unknown, a packet lasts until the next one.
        drift += hole if packet.end > packet.start or hole >= LEAST_GAP else 0.0
        if drift >= LEAST_GAP:
            found.append(Gap(at=round(position, 3), seconds=round(drift, 3)))
            drift = 0.0
        position += packet.end - packet.start
        expected = packet.end
    return found


def loudness(path: Path, track: int, settings: Settings) -> float | None:
    """Return the mean energy of a track over all of its channels, in dB below full scale, at its beginning."""
    filters = ["-af", "aresample=16000,volumedetect", "-t", str(MEASURED_SECONDS), "-f", "null", "-"]
    with contextlib.suppress(NoOutput, OSError):
        with running(path, ["-map", f"0:a:{track}", *filters], settings, _MOST_SECONDS) as ffmpeg:
            for _ in ffmpeg.chunks():
                pass
            ffmpeg.code()
            means = re.findall(r"mean_volume: (-?\d+\.\d+) dB", ffmpeg.log())
        return float(means[-1]) if means else None
    return None


def has_sound(path: Path, track: int, settings: Settings) -> bool:
    """Return whether a track has sound in its first half hour."""
    with contextlib.suppress(RequestError, OSError):
        selection, limits = AudioSelection(track=track), {"decode_timeout": _MOST_SECONDS}
        with contextlib.closing(
            stream_pcm(path, settings.model_copy(update=limits), selection=selection, seconds=MEASURED_SECONDS)
        ) as pcm:
            return peak_of(pcm, _SOUND) >= _SOUND
    return False


def _packets(path: Path, streams: list[str], settings: Settings) -> Iterator[Packet]:
    """Yield the packets of streams in the order of the file, as ffmpeg's muxer framecrc lists them."""
    bases: dict[str, float] = {}
    rest = b""
    with running(path, [*streams, "-c", "copy", "-f", "framecrc", "-"], settings, _MOST_SECONDS) as ffmpeg:
        for chunk in ffmpeg.chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if packet := _packet(line.decode("ascii", "replace"), bases):
                    yield packet


def _packet(line: str, bases: dict[str, float]) -> Packet | None:
    """Read a line such as `0, 41, 41, 20, 63, 0xa1ec1d3a`, after `#tb 0: 1/1000` has given the stream's time base."""
    if match := re.match(r"#tb (\d+): (\d+)/(\d+)", line):
        bases[match[1]] = int(match[2]) / int(match[3])
    fields = line.split(",", 4)
    if line.startswith("#") or len(fields) < 5 or fields[0] not in bases:
        return None
    try:
        start, length = int(fields[2]), int(fields[3])
    except ValueError:  # NOPTS
        return None
    base = bases[fields[0]]
    return Packet(start * base, (start + max(length, 0)) * base)
