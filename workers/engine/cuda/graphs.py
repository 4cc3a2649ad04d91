"""CUDA graphs, one per kind and bucket, captured in one memory pool when they are first needed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch
from torch import Tensor

log = logging.getLogger(__name__)

#: What a graph does, for how many windows or rows, and in which variant: the length of prompts, whether rows draw.
Key = tuple[str, int, int]


class Graphs:
    """Captures work whose input and output tensors never move, and replays it."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()
        self._captured: dict[Key, tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def run(self, key: Key, work: Callable[[], Tensor]) -> Tensor:
        """Do the work named by `key` and return its output.

        The first run of a key is not captured; after it the work is captured, and every later run replays the graph.
        """
        if key in self._captured:
            graph, output = self._captured[key]
            graph.replay()
            return output
        output = work()
        self._captured[key] = self._capture(key, work)
        return output

    def _capture(self, key: Key, work: Callable[[], Tensor]) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        started = time.monotonic()
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.stream(self._stream):
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                output = work()
            finally:
                graph.capture_end()
        torch.cuda.empty_cache()  # what the uncaptured run took is not needed again
        log.info("captured %s of %d (%d) in %.2f s", *key, time.monotonic() - started)
        return graph, output
