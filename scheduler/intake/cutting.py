"""Plan a job's audio: decode the file once, cut it into segments, spool them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from whisper_fleet.scheduler.intake.cutters import Cutter, cutter_of
from whisper_fleet.shared.audio.decode import BYTES_PER_SAMPLE, SAMPLE_RATE, PcmStream, stream_pcm
from whisper_fleet.shared.audio.levels import Levels
from whisper_fleet.shared.audio.report import DecodeReport
from whisper_fleet.shared.audio.selection import STOCK, AudioSelection
from whisper_fleet.shared.audio.sources import source_of
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.audio.warnings import Decoded, audio_warnings
from whisper_fleet.shared.errors import AudioTooLong, AudioTooShort
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobPlan, SegmentPlan

#: OpenAI's own service has the same limit; below it, Whisper only invents text.
MINIMUM_SECONDS = 0.1
#: Audio up to this length may come from a file of any size.
EXPANSION_SECONDS = 600.0
#: A segment is cut within this many seconds before its limit.
SEARCH_SECONDS = 20
#: The last segment of a file is never shorter than this, unless the file is.
SHORTEST_TAIL_SECONDS = 10


def plan_audio(
    file_path: str,
    job: str,
    segment_duration: float,
    settings: Settings,
    cutter: str | None = None,
    selection: AudioSelection = STOCK,
) -> JobPlan:
    """Decode the file once and cut it into segments of at most `segment_duration` seconds, with warnings about it.

    Several segments are spooled while there is room. A single segment is spooled only if its source may expire before
    a slot reads it. Memory is bounded by one segment. `cutter` replaces that of the settings. Raises a RequestError if
    the file cannot be transcribed.
    """
    spool, source, choose = Spool(settings), source_of(file_path), cutter_of(settings, cutter)
    try:
        with source.opened(file_path, settings) as path:
            reports, levels = list[DecodeReport](), Levels()
            decoded = stream_pcm(path, settings, called=file_path, selection=selection, on_end=reports.append)
            pcm = levels.passing(_limited(decoded, file_path, path.stat().st_size, settings))
            pieces = cut_into_segments(pcm, segment_duration, choose)
            plan = _plan(pcm, _spooled(pieces, job, spool, fewest=1 if source.may_expire else 2))
            if plan.duration < MINIMUM_SECONDS:
                raise AudioTooShort(path=file_path, seconds=plan.duration, minimum=MINIMUM_SECONDS)
            heard = Decoded(path=path, selection=selection, report=reports[0], levels=levels, seconds=plan.duration)
            return plan.model_copy(update={"warnings": audio_warnings(heard, settings)})
    except BaseException:
        spool.drop(job)
        raise


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


def cut_into_segments(pieces: Iterable[bytes], segment_duration: float, cutter: Cutter) -> Iterator[bytes]:
    """Yield the same bytes (s16le, 16 kHz, mono), divided into segments of at most `segment_duration` seconds.

    Holds one segment at a time in memory.
    """
    limit = int(segment_duration * SAMPLE_RATE)
    decisive = (limit + SHORTEST_TAIL_SECONDS * SAMPLE_RATE) * BYTES_PER_SAMPLE
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) > decisive:
            yield _take(waiting, limit, cutter)
    while len(waiting) > limit * BYTES_PER_SAMPLE:
        yield _take(waiting, limit, cutter)
    if waiting:
        yield bytes(waiting)


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


def _plan(pcm: PcmStream, spooled: Iterator[tuple[int, str | None]]) -> JobPlan:
    """Return the plan of segments with these lengths in samples and names in the spool."""
    segments: list[SegmentPlan] = []
    position = 0
    with contextlib.closing(pcm):
        for index, (length, name) in enumerate(spooled):
            start, position = position, position + length
            times = {"start": start / SAMPLE_RATE, "end": position / SAMPLE_RATE}
            segments.append(SegmentPlan(index=index, spool=name, **times))
    return JobPlan(duration=position / SAMPLE_RATE, segments=tuple(segments))


def _spooled(pieces: Iterator[bytes], job: str, spool: Spool, *, fewest: int) -> Iterator[tuple[int, str | None]]:
    """Yield each segment's length in samples and its name in the spool, which needs the `fewest` segments or more."""
    opening = list(itertools.islice(pieces, fewest))
    room = spool.room() if len(opening) == fewest else 0
    for index, piece in enumerate(itertools.chain(opening, pieces)):
        name = spool.write(job, index, piece) if len(piece) <= room else None
        room = room - len(piece) if name else 0
        yield len(piece) // BYTES_PER_SAMPLE, name
