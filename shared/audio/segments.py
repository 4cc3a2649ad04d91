"""From a file to what Whisper takes: plan a job's segments at intake, read one segment in a slot."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whisper_fleet.shared.audio.cuts import cut_into_segments, cut_points
from whisper_fleet.shared.audio.decode import BYTES_PER_SAMPLE, SAMPLE_RATE, PcmStream, stream_pcm
from whisper_fleet.shared.audio.source import check_file, check_url, is_url, real_path_below
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.audio.url import fetched
from whisper_fleet.shared.errors import AudioTooShort, CorruptAudio
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobPlan, SegmentPlan

__all__ = [
    "MINIMUM_SECONDS",
    "SAMPLE_RATE",
    "Spool",
    "cut_points",
    "plan_audio",
    "read_segment",
    "real_path_below",
    "stream_pcm",
]

#: What OpenAI's own service asks for, too; below it Whisper only invents words.
MINIMUM_SECONDS = 0.1
#: A file may come out this much shorter on another ffmpeg than the one that planned it.
_TOLERATED_SECONDS = 0.1


def plan_audio(file_path: str, job: str, segment_duration: float, settings: Settings) -> JobPlan:
    """Decodes the file once and divides it at pauses; several segments are spooled while there is room.

    So is a single one that came from a URL, which may have expired when a slot reads it. Memory is bounded by one
    segment. Raises a RequestError when the file cannot be transcribed.
    """
    spool = Spool(settings)
    try:
        with _local(file_path, settings) as path:
            pcm = stream_pcm(path, settings, called=file_path)
            plan = _plan(pcm, job, segment_duration, spool, worth=1 if is_url(file_path) else 2)
        if plan.duration < MINIMUM_SECONDS:
            raise AudioTooShort(path=file_path, seconds=plan.duration, minimum=MINIMUM_SECONDS)
    except BaseException:
        spool.drop(job)
        raise
    return plan


def read_segment(file_path: str, plan: SegmentPlan, settings: Settings) -> NDArray[np.float32]:
    """The samples of one segment, float32 [n] in [-1, 1): from the spool, else from the file's beginning on.

    Never seeks: what a seek gives depends on the format. Raises a RequestError when the file went bad since.
    """
    first, last = (round(seconds * SAMPLE_RATE) for seconds in (plan.start, plan.end))
    expected = (last - first) * BYTES_PER_SAMPLE
    pcm = Spool(settings).read(plan.spool, expected) if plan.spool else None
    if pcm is None:
        with _local(file_path, settings) as path:
            pcm = _between(stream_pcm(path, settings, called=file_path), first, last)
        if len(pcm) < expected - _TOLERATED_SECONDS * SAMPLE_RATE * BYTES_PER_SAMPLE:
            raise CorruptAudio(path=file_path, reason="it is shorter than when the job was planned")
    samples = np.frombuffer(pcm, np.int16).astype(np.float32)
    samples /= 32768.0
    return samples


@contextlib.contextmanager
def _local(file_path: str, settings: Settings) -> Iterator[Path]:
    """The path of a local file to decode; what a URL names is fetched for as long as it is needed."""
    if is_url(file_path):
        check_url(file_path, settings)
        with fetched(file_path, settings) as path:
            yield path
    else:
        yield check_file(file_path, settings)


def _plan(pcm: PcmStream, job: str, segment_duration: float, spool: Spool, *, worth: int) -> JobPlan:
    segments: list[SegmentPlan] = []
    position = 0
    with contextlib.closing(pcm):
        pieces = cut_into_segments(pcm, segment_duration)
        for index, (length, name) in enumerate(_spooled(pieces, job, spool, worth)):
            start, position = position, position + length
            times = {"start": start / SAMPLE_RATE, "end": position / SAMPLE_RATE}
            segments.append(SegmentPlan(index=index, spool=name, **times))
    return JobPlan(duration=position / SAMPLE_RATE, segments=tuple(segments))


def _spooled(pieces: Iterator[bytes], job: str, spool: Spool, worth: int) -> Iterator[tuple[int, str | None]]:
    """Each segment's length in samples and its name in the spool, if there are as many as are `worth` spooling."""
    opening = list(itertools.islice(pieces, worth))
    room = spool.room() if len(opening) == worth else 0
    for index, piece in enumerate(itertools.chain(opening, pieces)):
        name = spool.write(job, index, piece) if len(piece) <= room else None
        room = room - len(piece) if name else 0
        yield len(piece) // BYTES_PER_SAMPLE, name


def _between(pcm: PcmStream, first: int, last: int) -> bytes:
    """The samples [first, last) of a stream, as far as it reaches; what comes after is not decoded."""
    start, end = first * BYTES_PER_SAMPLE, last * BYTES_PER_SAMPLE
    kept = bytearray()
    position = 0
    with contextlib.closing(pcm):
        for piece in pcm:
            kept += piece[max(0, start - position) : max(0, end - position)]
            position += len(piece)
            if position >= end:
                break
    return bytes(kept)
