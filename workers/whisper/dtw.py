"""Dynamic time warping in many slots at once: whisper's own source, compiled without numba's parallel layer.

Whisper compiles it with `parallel=True`, which serves only to fill two arrays. Where neither OpenMP nor TBB is
installed, numba then runs its `workqueue`, and that aborts the whole process, here a node with all its segments, as
soon as two threads are in it. Without it the result is the same, and the other slots' threads go on (`nogil`).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from whisper import timing

_dtw: Any = numba.jit(nopython=True, nogil=True)(timing.dtw_cpu.py_func)


def dtw(costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """The cheapest path through the costs [tokens, frames]: the token and the frame of each step, [2, steps]."""
    path: NDArray[np.int64] = _dtw(costs)
    return path
