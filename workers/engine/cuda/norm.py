"""Residual addition and layer norm in one pass over memory: the kernel of norm.cu, compiled for a model."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from whisper_fleet.workers.engine.cuda.source import Kernel, compile_source
from whisper_fleet.workers.engine.model.weights import Norm

_SOURCE = Path(__file__).with_suffix(".cu")
_TYPES = {torch.float16: "f16", torch.bfloat16: "bf16", torch.float32: "f32"}
_THREADS = 128
_NULL = ctypes.c_uint64(0)


class FusedArithmetic:
    """The arithmetic in one kernel, bit for bit equal to PlainArithmetic.

    It is compiled for each width and precision when they are first used.
    """

    def __init__(self) -> None:
        self._kernels: dict[tuple[int, torch.dtype], Kernel] = {}

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        normed = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        self._launch(x.contiguous(), None, None, normed, norm)
        return normed

    def add_norm(self, x: Tensor, y: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
        total, normed = torch.empty_like(x), torch.empty_like(x)
        self._launch(x, y, total, normed, norm)
        return total, normed

    def _launch(self, x: Tensor, y: Tensor | None, total: Tensor | None, normed: Tensor, norm: Norm) -> None:
        width = x.shape[-1]
        kernel = self._kernels.get((width, x.dtype)) or self._compile(width, x.dtype, x.device)
        added = (_NULL, _NULL) if y is None or total is None else (y, total)
        kernel.launch((x.numel() // width, 1), x, *added, normed, norm.weight, norm.bias)

    def _compile(self, width: int, dtype: torch.dtype, device: torch.device) -> Kernel:
        code = compile_source(_SOURCE.read_text(), {"WIDTH": width, "TYPE": _TYPES[dtype]}, device)
        self._kernels[width, dtype] = Kernel(code, "add_norm", threads=_THREADS)
        return self._kernels[width, dtype]
