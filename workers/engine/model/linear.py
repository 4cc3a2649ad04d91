"""Linear maps, computed in the fastest way for each device.

On an x86 CPU, torch computes float32 products with MKL, which leaves half of an AMD core's vector units idle. oneDNN
uses all of them, can read weights that were reordered ("packed") once, and is as fast with few rows as with many.
"""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_ENCODED_ROWS = 1500  # rows that oneDNN packs for: the encoder's, which are most of the work; it serves one row as well
_FEW = 8  # up to this many rows, a CPU computes weight @ input faster than input @ weight


@dataclass(frozen=True)
class Linear:
    """A linear map y = x weight^T + bias."""

    weight: Tensor  # [out, in]; packed if `weight.is_mkldnn`
    bias: Tensor  # [out]

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the map: x [..., in] -> [..., out]."""
        if self.weight.is_mkldnn:
            return product(x, self.weight, self.bias)
        return linear(x, self.weight, self.bias)


@functools.cache
def can_pack() -> bool:
    """Return whether torch can multiply by packed weights on this machine."""
    return platform.machine() in ("x86_64", "AMD64") and torch.backends.mkldnn.is_available()


def packed(weight: Tensor) -> Tensor:
    """Return a copy of a float32 weight [out, in] in oneDNN's order."""
    reordered: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, _ENCODED_ROWS)
    return reordered


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute x weight^T + bias with oneDNN, in float32: x [..., in] -> [..., out]. The weight may be packed."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute x weight^T + bias: x [..., in] -> [..., out]. The weight [out, in] must not be packed."""
    if x.is_cuda or x.dtype != torch.float32:
        return F.linear(x, weight, bias)
    if x.ndim > 2 or x.shape[0] > _FEW:
        return product(x, weight, bias) if can_pack() else F.linear(x, weight, bias)
    # MKL has a slower routine for one column than for two.
    columns = x.T if x.shape[0] > 1 else torch.cat([x, x]).T
    result = weight @ columns if bias is None else torch.addmm(bias[:, None], weight, columns)
    return result[:, : x.shape[0]].T.contiguous()
