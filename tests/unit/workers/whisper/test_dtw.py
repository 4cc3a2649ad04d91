"""Dynamic time warping returns whisper's path, also in many threads at once."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from whisper import timing

from whisper_fleet.workers.whisper.dtw import dtw

#: With whisper's own function this aborts the process where numba has only its `workqueue` layer.
_MANY_THREADS = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from whisper_fleet.workers.whisper.dtw import dtw
costs = np.random.default_rng(0).random((60, 1500))
dtw(costs)
with ThreadPoolExecutor(8) as threads:
    paths = list(threads.map(dtw, [costs] * 200))
assert all(np.array_equal(path, paths[0]) for path in paths)
"""


@pytest.mark.parametrize(("tokens", "frames"), [(1, 1), (1, 40), (3, 2), (17, 300), (224, 1500)])
def test_the_path_is_whispers_own(tokens: int, frames: int) -> None:
    draw = np.random.default_rng(tokens)
    for costs in (draw.normal(size=(tokens, frames)), draw.integers(3, size=(tokens, frames)).astype(np.float64)):
        assert np.array_equal(dtw(costs), timing.dtw_cpu(costs))


def test_many_threads_at_once_need_no_parallel_layer() -> None:
    environment = {**os.environ, "NUMBA_THREADING_LAYER": "workqueue"}
    subprocess.run([sys.executable, "-c", _MANY_THREADS], env=environment, check=True, timeout=100)
