"""Read one segment of a file as whisper takes it."""

from __future__ import annotations

import contextlib

import numpy as np
from numpy.typing import NDArray

from whisper_fleet.shared.audio.decode import BYTES_PER_SAMPLE, SAMPLE_RATE, PcmStream, stream_pcm
from whisper_fleet.shared.audio.selection import STOCK, AudioSelection
from whisper_fleet.shared.audio.sources import opened
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.errors import CorruptAudio
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import SegmentPlan

#: A file may come out this much shorter on another ffmpeg than the one that planned it.
_TOLERATED_SECONDS = 0.1


def read_segment(
    file_path: str, plan: SegmentPlan, settings: Settings, selection: AudioSelection = STOCK
) -> NDArray[np.float32]:
    """Return the samples of one segment, float32 [n] in [-1, 1): from the spool, else decoded from the file.

    The selection must be the one that the segment was cut with. The file is decoded from its beginning and never
    seeks, because what a seek returns depends on the format. Raises a RequestError if the file has become unreadable
    since it was planned.
    """
    first, last = (round(seconds * SAMPLE_RATE) for seconds in (plan.start, plan.end))
    expected = (last - first) * BYTES_PER_SAMPLE
    pcm = Spool(settings).read(plan.spool, expected) if plan.spool else None
    if pcm is None:
        with opened(file_path, settings) as path:
            pcm = _between(stream_pcm(path, settings, called=file_path, selection=selection), first, last)
        if len(pcm) < expected - _TOLERATED_SECONDS * SAMPLE_RATE * BYTES_PER_SAMPLE:
            raise CorruptAudio(path=file_path, reason="it is shorter than when the job was planned")
    samples = np.frombuffer(pcm, np.int16).astype(np.float32)
    samples /= 32768.0
    return samples


def _between(pcm: PcmStream, first: int, last: int) -> bytes:
    """Return the samples [first, last) of a stream, as far as it reaches; what comes after is not decoded."""
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
