"""CUDA graphs of the decode step, one per bucket of rows, captured when first needed, in one pool of memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch
from torch import Tensor

log = logging.getLogger(__name__)

BUCKETS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


def bucket_of(rows: int) -> int:
    """The smallest bucket that holds so many rows."""
    return next(bucket for bucket in BUCKETS if bucket >= rows)


class Graphs:
    """Replays `step(rows, draw)`, which returns its logits; it must not wait for the device."""

    def __init__(self, step: Callable[[int, bool], Tensor]) -> None:
        self._step = step
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()
        self._captured: dict[tuple[int, bool], tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def run(self, rows: int, draw: bool) -> Tensor:
        """One step; the first of its kind runs as it is and is captured for the next."""
        key = (rows, draw)
        if key in self._captured:
            graph, logits = self._captured[key]
            graph.replay()
            return logits
        logits = self._step(rows, draw)
        self._captured[key] = self._capture(rows, draw)
        return logits

    def _capture(self, rows: int, draw: bool) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        started = time.monotonic()
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.stream(self._stream):
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                logits = self._step(rows, draw)
            finally:
                graph.capture_end()
        log.info("captured the decode step of %d rows in %.2f s", rows, time.monotonic() - started)
        return graph, logits
