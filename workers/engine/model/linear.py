"""Linear maps as each device computes them fastest: on an x86 CPU, over weights that lie in oneDNN's own order.

Torch gives float32 products to MKL, which leaves half of an AMD core's vector units idle. oneDNN uses them, reads
weights that were put in its order once, and is as fast with a few rows as with many.
"""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_ENCODED_ROWS = 1500  # what most of the arithmetic is done for; the order serves a single row as well
_FEW = 8  # rows up to which a CPU multiplies weight @ input faster than input @ weight


@dataclass(frozen=True)
class Linear:
    """y = x weight^T + bias."""

    weight: Tensor  # [out, in]; in oneDNN's order when `weight.is_mkldnn`
    bias: Tensor  # [out]

    def __call__(self, x: Tensor) -> Tensor:
        """x [..., in] -> [..., out]."""
        if self.weight.is_mkldnn:
            return product(x, self.weight, self.bias)
        return linear(x, self.weight, self.bias)


@functools.cache
def can_pack() -> bool:
    """Whether this machine's torch multiplies by packed weights."""
    return platform.machine() in ("x86_64", "AMD64") and torch.backends.mkldnn.is_available()


def packed(weight: Tensor) -> Tensor:
    """A float32 weight [out, in] in oneDNN's order."""
    ordered: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, _ENCODED_ROWS)
    return ordered


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weight^T + bias by oneDNN, in float32; the weight may be packed."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x [..., in] -> [..., out] with a plain weight."""
    if x.is_cuda or x.dtype != torch.float32:
        return F.linear(x, weight, bias)
    if x.ndim > 2 or x.shape[0] > _FEW:
        return product(x, weight, bias) if can_pack() else F.linear(x, weight, bias)
    # one column is multiplied by a slower routine than two
    columns = x.T if x.shape[0] > 1 else torch.cat([x, x]).T
    result = weight @ columns if bias is None else torch.addmm(bias[:, None], weight, columns)
    return result[:, : x.shape[0]].T.contiguous()
