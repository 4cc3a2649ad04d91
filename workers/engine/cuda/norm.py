"""The operations between attention and products, fused, bit for bit as torch computes them one by one.

Residual addition and layer norm are one kernel, norm.cu. GELU and the addition after the MLP are part of the products
where there are many rows, on Hopper.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from whisper_fleet.workers.engine.cuda.hopper.product import FusedProducts
from whisper_fleet.workers.engine.cuda.source import Kernel, compile_source
from whisper_fleet.workers.engine.model.linear import Linear
from whisper_fleet.workers.engine.model.weights import Norm

_SOURCE = Path(__file__).with_suffix(".cu")
_TYPES = {torch.float16: "f16", torch.bfloat16: "bf16", torch.float32: "f32"}
_THREADS = 128
_NULL = ctypes.c_uint64(0)


#: From so many rows on, the GPU stays full if a thread block processes several, which saves reading the weights.
_MANY, _ROWS_PER_BLOCK = 8192, 4


class FusedArithmetic:
    """The arithmetic in few kernels, bit for bit equal to PlainArithmetic.

    They are compiled for each width and precision when they are first used.
    """

    def __init__(self, device: torch.device) -> None:
        self._kernels: dict[tuple[int, torch.dtype], Kernel] = {}
        self._products = FusedProducts(device)

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        normed = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        self._launch(x.contiguous(), None, None, normed, norm)
        return normed

    def add_norm(self, x: Tensor, y: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
        total, normed = torch.empty_like(x), torch.empty_like(x)
        self._launch(x, y, total, normed, norm)
        return total, normed

    def gelu(self, x: Tensor, linear: Linear) -> Tensor:
        if not self._products.is_faster(x, linear):
            return F.gelu(linear(x))
        return self._products.gelu(x.flatten(0, -2), linear).view(*x.shape[:-1], -1)

    def add_linear(self, x: Tensor, y: Tensor, linear: Linear, norm: Norm) -> tuple[Tensor, Tensor]:
        if not self._products.is_faster(y, linear, adds=True):
            return self.add_norm(x, linear(y), norm)
        total = self._products.add(y.flatten(0, -2), linear, x).view(x.shape)
        return total, self.norm(total, norm)

    def _launch(self, x: Tensor, y: Tensor | None, total: Tensor | None, normed: Tensor, norm: Norm) -> None:
        width = x.shape[-1]
        kernel = self._kernels.get((width, x.dtype)) or self._compile(width, x.dtype, x.device)
        added = (_NULL, _NULL) if y is None or total is None else (y, total)
        rows = x.numel() // width
        each = 1 if rows < _MANY else _ROWS_PER_BLOCK
        counts = ctypes.c_int(rows), ctypes.c_int(each)
        kernel.launch((-(-rows // each), 1), x, *added, normed, norm.weight, norm.bias, *counts)

    def _compile(self, width: int, dtype: torch.dtype, device: torch.device) -> Kernel:
        code = compile_source(_SOURCE.read_text(), {"WIDTH": width, "TYPE": _TYPES[dtype]}, device)
        self._kernels[width, dtype] = Kernel(code, "add_norm", threads=_THREADS)
        return self._kernels[width, dtype]
