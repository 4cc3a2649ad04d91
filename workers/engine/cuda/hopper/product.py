"""A linear map with whisper's GELU or a residual addition in the product's epilogue: the kernel of product.cu.

The results are those of torch's separate operations, bit for bit. The encoder, prompts and the stem use it where it is
faster; `is_served` says which maps it can compute, the caller falls back to torch for the others.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from whisper_fleet.workers.engine.cuda.hopper.tensor_map import TYPES, is_hopper, source_of, tensor_map
from whisper_fleet.workers.engine.cuda.source import Kernel, compile_source
from whisper_fleet.workers.engine.model.linear import Linear

_ROWS, _COLUMNS, _DEPTH, _STAGES = 128, 256, 64, 3  # as in product.cu
_THREADS = 384
_FULL = 0.9  # of the multiprocessors that have a tile, on average
_LEAST_DEPTH_TO_ADD = 1280  # measured on an H100: 1,280 gains, 512 loses


class FusedProducts:
    """The products of one GPU; each shape is compiled when it is first used."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        properties = torch.cuda.get_device_properties(device)
        self._multiprocessors = properties.multi_processor_count
        self._most_shared = properties.shared_memory_per_multiprocessor - 1024  # bytes; CUDA reserves 1 KiB
        self._kernels: dict[tuple[int, int, torch.dtype, bool], Kernel] = {}

    def is_served(self, linear: Linear) -> bool:
        """Return whether the kernel can compute this map: half precision, Hopper, whole tiles."""
        columns, depth = linear.weight.shape
        fits = columns % _COLUMNS == 0 and depth % _DEPTH == 0 and _shared_bytes(columns) <= self._most_shared
        return fits and linear.weight.dtype in TYPES and is_hopper(self._device)

    def is_faster(self, x: Tensor, linear: Linear, *, adds: bool = False) -> bool:
        """Return whether the kernel beats torch's product and another pass: nearly all multiprocessors have a tile.

        A residual (`adds`) is read while the next tile is multiplied, which must take long enough.
        """
        tiles = self._tiles(x.numel() // x.shape[-1], len(linear.weight))
        waves = -(-tiles // self._multiprocessors)
        is_full = tiles >= _FULL * waves * self._multiprocessors
        return is_full and self.is_served(linear) and (not adds or linear.weight.shape[1] >= _LEAST_DEPTH_TO_ADD)

    def gelu(self, x: Tensor, linear: Linear, out: Tensor | None = None) -> Tensor:
        """Return gelu(linear(x)), in `out` if it is given: x [rows, in], whose rows may overlap -> [rows, out]."""
        return self._product(x, linear, None, out)

    def add(self, x: Tensor, linear: Linear, residual: Tensor) -> Tensor:
        """Return residual + linear(x): x [rows, in], residual [rows, out] -> [rows, out]."""
        return self._product(x, linear, residual, None)

    def _product(self, x: Tensor, linear: Linear, residual: Tensor | None, out: Tensor | None) -> Tensor:
        rows, (columns, depth) = len(x), linear.weight.shape
        if out is None:
            out = torch.empty((rows, columns), dtype=x.dtype, device=x.device)
        self._kernel(columns, depth, x.dtype, gelu=residual is None).launch(
            (min(self._tiles(rows, columns), self._multiprocessors), 1), tensor_map(x, (_ROWS, _DEPTH)),
            tensor_map(linear.weight, (_COLUMNS, _DEPTH)), linear.bias, out if residual is None else residual, out,
            ctypes.c_int(rows),
        )  # fmt: skip
        return out

    def _tiles(self, rows: int, columns: int) -> int:
        return -(-rows // _ROWS) * (columns // _COLUMNS)

    def _kernel(self, columns: int, depth: int, dtype: torch.dtype, *, gelu: bool) -> Kernel:
        key = (columns, depth, dtype, gelu)
        if key not in self._kernels:
            constants: dict[str, int | str] = {
                "N": columns, "K": depth, "STAGES": _STAGES, "TYPE": TYPES[dtype], "GELU": int(gelu),
            }  # fmt: skip
            code = compile_source(source_of("product.cu"), constants, self._device, for_this_architecture_only=True)
            self._kernels[key] = Kernel(code, "product", threads=_THREADS, shared=_shared_bytes(columns))
        return self._kernels[key]


def _shared_bytes(columns: int) -> int:
    """Return the bytes of shared memory per thread block: the size of `Shared` in product.cu."""
    blocks = _STAGES * (_ROWS + _COLUMNS) * _DEPTH * 2
    return blocks + _ROWS * (_COLUMNS + 8) * 2 + columns * 2 + (2 * _STAGES + 2) * 8
