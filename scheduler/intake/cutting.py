"""Decode a job's file once, from its beginning to its end, and cut it into segments while it is decoded.

Called by `decoding`, which enters the segments in the ledger, and by whatever wants the segments of a file without a
fleet. It knows neither. Raises a RequestError if the file cannot be transcribed, at any time until its end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from whisper_fleet.scheduler.intake.cutters import Cutter, cutter_of
from whisper_fleet.shared.audio.decode import BYTES_PER_SAMPLE, SAMPLE_RATE, PcmStream, stream_pcm
from whisper_fleet.shared.audio.levels import Levels
from whisper_fleet.shared.audio.report import DecodeReport
from whisper_fleet.shared.audio.selection import STOCK, AudioSelection
from whisper_fleet.shared.audio.sources import source_of
from whisper_fleet.shared.audio.warnings import Decoded, audio_warnings
from whisper_fleet.shared.errors import AudioTooLong, AudioTooShort, CorruptAudio
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobWarning

#: OpenAI's own service has the same limit; below it, Whisper only invents text.
MINIMUM_SECONDS = 0.1
#: Audio up to this length may come from a file of any size.
EXPANSION_SECONDS = 600.0
#: A segment is cut within this many seconds before its limit.
SEARCH_SECONDS = 20
#: The last segment of a file is never shorter than this, unless the file is.
SHORTEST_TAIL_SECONDS = 10


class Cut(NamedTuple):
    """A segment as it was cut from a stream."""

    pcm: bytes  # s16le, 16 kHz, mono
    is_last: bool


class FileCuts:
    """The segments of one file, and what is known of it once they have all been read."""

    def __init__(
        self, path: Path, file_path: str, segment_duration: float, settings: Settings, selection: AudioSelection
    ) -> None:
        self._path, self._file_path, self._settings = path, file_path, settings
        self._segment_duration, self._selection = segment_duration, selection
        self._reports, self._levels = list[DecodeReport](), Levels()
        self._samples = 0

    @property
    def seconds(self) -> float:
        """The length of what was cut so far, from the beginning of the file."""
        return self._samples / SAMPLE_RATE

    def segments(self, cutter: Cutter, start: int = 0) -> Generator[Cut, None, None]:
        """Yield the segments from the sample `start` on, which must be where an earlier decoding cut.

        Each comes as soon as the samples that decide its end are decoded, so it is the same as if the file had been
        decoded before. Memory is bounded by one segment.
        """
        decoded = stream_pcm(
            self._path,
            self._settings,
            called=self._file_path,
            selection=self._selection,
            on_end=self._reports.append,
            background_after=self._segment_duration,
        )
        limited = _limited(decoded, self._file_path, self._path.stat().st_size, self._settings)
        with contextlib.closing(self._levels.passing(limited)) as pcm:
            self._samples = start
            for cut in cut_into_segments(self._after(pcm, start), self._segment_duration, cutter):
                self._samples += len(cut.pcm) // BYTES_PER_SAMPLE
                yield cut
        if self.seconds < MINIMUM_SECONDS:
            raise AudioTooShort(path=self._file_path, seconds=self.seconds, minimum=MINIMUM_SECONDS)

    def warnings(self) -> tuple[JobWarning, ...]:
        """Return the warnings about the file, which has been decoded to its end."""
        heard = Decoded(
            path=self._path,
            selection=self._selection,
            report=self._reports[0],
            levels=self._levels,
            seconds=self.seconds,
        )
        return audio_warnings(heard, self._settings)

    def _after(self, pcm: PcmStream, start: int) -> Iterator[bytes]:
        left = start * BYTES_PER_SAMPLE
        for chunk in pcm:
            if left < len(chunk):
                yield chunk[left:]
            left = max(0, left - len(chunk))
        if left:
            raise CorruptAudio(path=self._file_path, reason="it is shorter than when the job was planned")


@contextlib.contextmanager
def opened_cuts(
    file_path: str, segment_duration: float, settings: Settings, selection: AudioSelection = STOCK
) -> Iterator[FileCuts]:
    """Provide the segments of a file, of at most `segment_duration` seconds each."""
    with source_of(file_path).opened(file_path, settings) as path:
        yield FileCuts(path, file_path, segment_duration, settings, selection)


def cutter_for(settings: Settings, vad: str) -> Cutter:
    """Return the cutter of a request with this option `vad`, which replaces that of the settings."""
    return cutter_of(settings, "voice" if vad == "cut" else None)


def _limited(pcm: PcmStream, file_path: str, file_bytes: int, settings: Settings) -> PcmStream:
    """Yield the same chunks, and raise AudioTooLong as soon as they are more than the settings allow.

    What a file says of its length is not believed: 17 KB of FLAC can be 218 hours of silence.
    """
    most, reason, setting = settings.max_audio_seconds, "which this fleet accepts", "MAX_AUDIO_SECONDS"
    by_size = max(file_bytes * settings.max_expansion, EXPANSION_SECONDS)
    if by_size < most:
        most, reason, setting = by_size, f"too much for a file of {file_bytes:,} bytes", "MAX_EXPANSION"
    left = most * SAMPLE_RATE * BYTES_PER_SAMPLE
    with contextlib.closing(pcm):
        for chunk in pcm:
            left -= len(chunk)
            if left < 0:
                raise AudioTooLong(path=file_path, seconds=most, reason=reason, setting=setting)
            yield chunk


def cut_into_segments(pieces: Iterable[bytes], segment_duration: float, cutter: Cutter) -> Iterator[Cut]:
    """Yield the same bytes (s16le, 16 kHz, mono), divided into segments of at most `segment_duration` seconds.

    Holds one segment at a time in memory, and looks SHORTEST_TAIL_SECONDS beyond its limit.
    """
    limit = int(segment_duration * SAMPLE_RATE)
    decisive = (limit + SHORTEST_TAIL_SECONDS * SAMPLE_RATE) * BYTES_PER_SAMPLE
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) > decisive:
            yield Cut(_take(waiting, limit, cutter), is_last=False)
    while len(waiting) > limit * BYTES_PER_SAMPLE:
        yield Cut(_take(waiting, limit, cutter), is_last=False)
    if waiting:
        yield Cut(bytes(waiting), is_last=True)


def _take(waiting: bytearray, limit: int, cutter: Cutter) -> bytes:
    """Remove and return the first segment of the waiting samples, which are more than `limit`."""
    tail = SHORTEST_TAIL_SECONDS * SAMPLE_RATE
    last = min(limit, len(waiting) // BYTES_PER_SAMPLE - tail)
    first = max(limit - SEARCH_SECONDS * SAMPLE_RATE, tail)
    cut = _cut_between(waiting, first, last, cutter) * BYTES_PER_SAMPLE
    segment = bytes(waiting[:cut])
    del waiting[:cut]
    return segment


def _cut_between(waiting: bytearray, first: int, last: int, cutter: Cutter) -> int:
    """Return the sample to cut at, within [first, last]."""
    if last <= first:
        return last
    searched = np.frombuffer(bytes(waiting[first * BYTES_PER_SAMPLE : last * BYTES_PER_SAMPLE]), np.int16)
    return first + min(max(cutter(searched), 0), len(searched))
