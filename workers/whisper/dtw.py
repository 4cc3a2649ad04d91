"""Dynamic time warping that many threads can run at once: whisper's source, compiled without numba's parallel layer.

Whisper compiles `dtw_cpu` (whisper/timing.py) with `parallel=True`, which only affects how two arrays are filled. If
neither OpenMP nor TBB is installed, numba then uses its `workqueue` layer, which aborts the process (here a node with
all its segments) as soon as two threads use it. Compiled without it, the function returns the same result, and with
`nogil` the threads of other slots keep running.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from whisper import timing

_dtw: Any = numba.jit(nopython=True, nogil=True)(timing.dtw_cpu.py_func)


def dtw(costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the cheapest path through costs [tokens, frames]: the token and the frame of each step, [2, steps]."""
    path: NDArray[np.int64] = _dtw(costs)
    return path
