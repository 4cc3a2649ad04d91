"""Cut in the middle of the longest stretch in which nobody speaks, whatever else is heard there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whisper_fleet.scheduler.intake.cutters.pause import longest_pause
from whisper_fleet.shared.evidence.speech import CHUNK, THRESHOLD, probabilities


def longest_without_voice(samples: NDArray[np.int16]) -> int:
    """Return the index of the middle of the longest stretch without a voice; of the longest pause if there is none."""
    quiet = probabilities(samples) < THRESHOLD
    edges = np.flatnonzero(np.diff(np.concatenate(([False], quiet, [False]))))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return longest_pause(samples)
    longest = len(starts) - 1 - int(np.argmax((ends - starts)[::-1]))  # of equals the last: fewer segments
    return int((starts[longest] + ends[longest]) * CHUNK // 2)
