"""Where to cut a long recording: in the middle of the longest pause shortly before the limit. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from whisper_fleet.shared.audio.decode import BYTES_PER_SAMPLE, SAMPLE_RATE

#: A segment is cut within this many seconds before its limit.
SEARCH_SECONDS = 20
#: The last segment of a file is never shorter than this, if the file is not.
SHORTEST_TAIL_SECONDS = 10

_HOP = SAMPLE_RATE // 100  # samples: energy is looked at every 10 ms
_HOPS_PER_LOOK = 10  # 100 ms
_PAUSE_OVER_FLOOR = 4.0  # energy, 6 dB: what is this close to the quietest 100 ms is still the same pause
_SILENCE = 32.0**2  # energy of -60 dBFS: below it there is nothing to tell apart


def cut_into_segments(pieces: Iterable[bytes], segment_duration: float) -> Iterator[bytes]:
    """The same bytes (s16le, 16 kHz, mono), divided into segments of at most `segment_duration` seconds.

    Holds one segment at a time in memory.
    """
    limit = int(segment_duration * SAMPLE_RATE)
    decisive = (limit + SHORTEST_TAIL_SECONDS * SAMPLE_RATE) * BYTES_PER_SAMPLE
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) > decisive:
            yield _take(waiting, limit)
    while len(waiting) > limit * BYTES_PER_SAMPLE:
        yield _take(waiting, limit)
    if waiting:
        yield bytes(waiting)


def cut_points(samples: NDArray[np.int16], segment_duration: float) -> list[int]:
    """The sample indices at which a whole recording is cut; empty when it fits into one segment."""
    pieces = cut_into_segments([samples.tobytes()], segment_duration)
    lengths = [len(piece) // BYTES_PER_SAMPLE for piece in pieces]
    return [int(end) for end in np.cumsum(lengths)[:-1]]


def pause_in(samples: NDArray[np.int16]) -> int:
    """The index of the middle of the longest pause in these samples, or of their quietest 100 ms."""
    energy = _energy(samples)
    quiet = energy <= max(energy.min() * _PAUSE_OVER_FLOOR, _SILENCE)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], quiet, [False]))))
    starts, ends = edges[::2], edges[1::2]
    longest = len(starts) - 1 - int(np.argmax((ends - starts)[::-1]))  # of equals the last: fewer segments
    middle = (starts[longest] + ends[longest] - 1 + _HOPS_PER_LOOK) * _HOP // 2
    return int(min(middle, len(samples)))


def _energy(samples: NDArray[np.int16]) -> NDArray[np.float64]:
    """The mean square of each 100 ms, every 10 ms; of all the samples when they are fewer."""
    hops = len(samples) // _HOP
    if hops < _HOPS_PER_LOOK:
        return np.array([np.mean(samples.astype(np.float64) ** 2)])
    per_hop = (samples[: hops * _HOP].astype(np.float64) ** 2).reshape(hops, _HOP).mean(axis=1)
    return np.convolve(per_hop, np.full(_HOPS_PER_LOOK, 1 / _HOPS_PER_LOOK), mode="valid")


def _take(waiting: bytearray, limit: int) -> bytes:
    """Removes and returns the first segment of what waits, which is more than `limit` samples."""
    tail = SHORTEST_TAIL_SECONDS * SAMPLE_RATE
    last = min(limit, len(waiting) // BYTES_PER_SAMPLE - tail)
    first = max(limit - SEARCH_SECONDS * SAMPLE_RATE, tail)
    cut = _pause_between(waiting, first, last) * BYTES_PER_SAMPLE
    segment = bytes(waiting[:cut])
    del waiting[:cut]
    return segment


def _pause_between(waiting: bytearray, first: int, last: int) -> int:
    """The sample to cut at, within [first, last]."""
    if last <= first:
        return last
    looked_at = bytes(waiting[first * BYTES_PER_SAMPLE : last * BYTES_PER_SAMPLE])
    return first + pause_in(np.frombuffer(looked_at, np.int16))
