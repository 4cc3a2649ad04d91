"""Cut in the middle of the longest pause. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whisper_fleet.shared.audio.decode import SAMPLE_RATE

_HOP = SAMPLE_RATE // 100  # samples; energy is measured every 10 ms
_HOPS_PER_LOOK = 10  # 100 ms
_PAUSE_OVER_FLOOR = 4.0  # energy, 6 dB: what is this close to the quietest 100 ms belongs to the same pause
_SILENCE = 32.0**2  # energy of -60 dBFS; below it, everything is equally silent


def longest_pause(samples: NDArray[np.int16]) -> int:
    """Return the index of the middle of the longest pause in these samples, or of their quietest 100 ms."""
    energy = _energy(samples)
    quiet = energy <= max(energy.min() * _PAUSE_OVER_FLOOR, _SILENCE)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], quiet, [False]))))
    starts, ends = edges[::2], edges[1::2]
    longest = len(starts) - 1 - int(np.argmax((ends - starts)[::-1]))  # of equals the last: fewer segments
    middle = (starts[longest] + ends[longest] - 1 + _HOPS_PER_LOOK) * _HOP // 2
    return int(min(middle, len(samples)))


def _energy(samples: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return the mean square of each 100 ms, every 10 ms; of all samples if they are fewer."""
    hops = len(samples) // _HOP
    if hops < _HOPS_PER_LOOK:
        return np.array([np.mean(samples.astype(np.float64) ** 2)])
    per_hop = (samples[: hops * _HOP].astype(np.float64) ** 2).reshape(hops, _HOP).mean(axis=1)
    return np.convolve(per_hop, np.full(_HOPS_PER_LOOK, 1 / _HOPS_PER_LOOK), mode="valid")
