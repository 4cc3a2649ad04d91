"""The way through fused kernels and captured graphs, for GPUs that have both."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workers.engine.graphs import Graphs, bucket_of
from workers.engine.kv_cache import KvCache
from workers.engine.rules import Vocabulary
from workers.engine.state import RowState, Whole

if TYPE_CHECKING:
    from workers.engine.network import Arithmetic, Network

_PROGRAMS = 1024  # thread blocks that keep a large GPU's memory busy


def fast_path(device: torch.device, cache: KvCache, state: RowState, vocabulary: Vocabulary) -> Fast | None:
    """The fast path, or None on a CPU, before Ampere (Triton no longer serves Turing) and without Triton."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return None
    if importlib.util.find_spec("triton") is None:
        return None
    return Fast(cache, state, vocabulary)


class Fast:
    """Decode steps of rows 0..n as one graph each; rows that are not active pass through untouched."""

    def __init__(self, cache: KvCache, state: RowState, vocabulary: Vocabulary) -> None:
        # imported here: a machine without Triton never gets this far
        from workers.engine import kernels, select_kernel

        self._kernels, self._select = kernels, select_kernel
        self._cache, self._state, self._vocabulary = cache, state, vocabulary
        self._numbers = torch.arange(state.active.shape[0], device=state.active.device)
        self._graphs = Graphs(self._step)
        self._network: Network | None = None
        self.arithmetic: Arithmetic = kernels.FusedArithmetic()

    def attach(self, network: Network) -> None:
        """The network whose steps are run."""
        self._network = network

    def step(self, rows: int, draw: bool) -> Tensor:
        """One token for all active rows below `rows`; the logits by row, for beams."""
        return self._graphs.run(bucket_of(rows), draw)

    def select(self, logits: Tensor, rows: Tensor, draw: bool) -> None:
        """Choose and note the next tokens of the rows that are no beams."""
        self._select.select(logits, self._state, rows, self._vocabulary, draw=draw)

    def _step(self, rows: int, draw: bool) -> Tensor:
        if self._network is None:
            raise RuntimeError("no network is attached")
        heads = self._cache.audio.shape[4]
        splits = min(max(_PROGRAMS // (rows * heads), 1), 12)
        attention = self._kernels.FusedStepAttention(self._cache, self._state, rows, splits)
        tokens = self._state.whole[:rows, Whole.TOKEN]
        positions = self._state.whole[:rows, Whole.POSITION].clamp(max=self._state.sampled.shape[1] - 1)
        logits = self._network.logits(self._network.decode(tokens, positions, attention))
        self._select.select(logits, self._state, self._numbers[:rows], self._vocabulary, draw=draw)
        return logits
