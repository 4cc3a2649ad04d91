"""Cross-attention over the encoder's output: the fused kernel of latent.cu, compiled for a model and a GPU."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from whisper_fleet.workers.engine.cuda.source import Kernel, compile_source

_SOURCES = (Path(__file__).with_name("ptx.cuh"), Path(__file__).with_suffix(".cu"))
_TYPES = {torch.float16: "f16", torch.bfloat16: "bf16"}
_SLICE = 128  # channels per warp
_BLOCK = 16  # frames that a thread block processes at a time
_KEEPERS = 2  # warps per thread block that copy frames and compute softmax weights
#: Measured costs, in units of the time of one block of frames: to start and end a thread block, to merge the parts of a
#: row, and per part that is merged.
_EDGES, _MERGE, _MERGE_PER_SPLIT = 8, 2, 0.1


@dataclass(frozen=True)
class Shape:
    """The dimensions of a thread block's work; it keeps `stages` blocks of frames in shared memory."""

    state: int
    heads: int
    stages: int = 4

    @property
    def warps(self) -> int:
        """Warps per thread block that share the channels of the state."""
        return self.state // _SLICE

    @property
    def shared(self) -> int:
        """Bytes of shared memory per thread block: the size of `Shared` in latent.cu."""
        heads = -(-self.heads // 8) * 8
        frames = self.stages * (_BLOCK * (self.state + 8) * 2 + 8)
        scores = 2 * self.warps * heads * (_BLOCK + 4) * 4
        return frames + scores + 2 * heads * (_BLOCK + 8) * 2 + 3 * heads * 4


class LatentAttention:
    """Attention of queries [rows, heads, state] to encoder outputs [slot, frames, state], for one model on one GPU."""

    def __init__(self, shape: Shape, dtype: torch.dtype, device: torch.device) -> None:
        torch.empty(1, device=device)  # makes the device's context current
        properties = torch.cuda.get_device_properties(device)
        self._multiprocessors = properties.multi_processor_count
        self._resident = max(properties.shared_memory_per_multiprocessor // (shape.shared + 1024), 1)
        constants: dict[str, int | str] = {
            "STATE": shape.state, "HEADS": shape.heads, "STAGES": shape.stages, "WARPS": shape.warps,
            "RESIDENT": self._resident, "TYPE": _TYPES[dtype],
        }  # fmt: skip
        code = compile_source("\n".join(path.read_text() for path in _SOURCES), constants, device)
        threads = (shape.warps + _KEEPERS) * 32
        self._attend = Kernel(code, "latent_attention", threads=threads, shared=shape.shared)
        self._merge = Kernel(code, "latent_merge", threads=shape.state // 4)

    def __call__(
        self, query: Tensor, encoded: Tensor, active: Tensor, slots: Tensor, columns: int, slot_column: int,
        per_row: int, scale: float,
    ) -> Tensor:  # fmt: skip
        """Return softmax(scale * query encoded^T) encoded: [rows, heads, state].

        `active` [row] and `slots` [row, columns] are read on the device; `slot_column` of `slots` holds the slot, and
        each row has `per_row` adjacent queries. The result of inactive rows is undefined.
        """
        rows, heads, state = query.shape
        frames = encoded.shape[1]
        blocks = -(-frames // _BLOCK)
        splits = best_splits(rows, heads, blocks, self._multiprocessors, self._resident)
        span = -(-blocks // splits) * _BLOCK
        splits = -(-frames // span)
        out = torch.empty(rows, heads, state, dtype=query.dtype, device=query.device)
        parts = out if splits == 1 else torch.empty((rows, splits, heads, state), device=query.device)
        tops, totals = torch.empty((2, rows, splits, heads), device=query.device)
        integer, long = ctypes.c_int, ctypes.c_uint64
        self._attend.launch(
            (splits, rows), query, long(query.stride(0)), long(query.stride(1)), encoded, long(encoded.stride(0)),
            active, slots, integer(columns), integer(slot_column), integer(per_row), integer(frames), integer(span),
            ctypes.c_float(scale), out, long(out.stride(0)), long(out.stride(1)), parts, tops, totals,
        )  # fmt: skip
        if splits > 1:
            self._merge.launch(
                (heads, rows), parts, tops, totals, active, integer(per_row), integer(splits), out,
                long(out.stride(0)), long(out.stride(1)),
            )  # fmt: skip
        return out


def best_splits(rows: int, heads: int, blocks: int, multiprocessors: int, resident: int) -> int:
    """Return into how many spans the `blocks` of frames of a row are split to process all rows in the shortest time.

    `resident` thread blocks run at once on a multiprocessor. Costs are in units of the time of one block of frames.
    """
    concurrent = multiprocessors * resident
    part = heads / 2 / concurrent  # to write and read the sums of one span

    def cost(splits: int) -> float:
        waves = -(-rows * splits // concurrent)
        merge = _MERGE + splits * (_MERGE_PER_SPLIT + rows * part) if splits > 1 else 0
        return max(waves * -(-blocks // splits), rows * blocks / multiprocessors) + waves * _EDGES + merge

    return min(range(1, blocks + 1), key=cost)
