"""Whisper's two convolutions as matrix products on Hopper, with their GELU in the epilogue.

With channels last, the three frames that a convolution reads for one output lie next to each other. So they are the
rows of a product, which overlap, and nothing is copied. Sums are in another order than cuDNN's, so that the last bits
of the result differ from whisper's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from whisper_fleet.workers.engine.cuda.hopper.product import FusedProducts
from whisper_fleet.workers.engine.model.linear import Linear
from whisper_fleet.workers.engine.model.weights import Weights

_TAPS = 3  # frames that a convolution reads
_DEPTH = 64  # a product's common dimension is a multiple of this


class FusedStem:
    """The beginning of the encoder for one model: from a spectrogram to the input of its first block."""

    def __init__(self, weights: Weights, products: FusedProducts) -> None:
        self._weights, self._products = weights, products
        self._first, self._second = _as_map(weights.conv1), _as_map(weights.conv2)

    def is_served(self) -> bool:
        """Return whether the kernels serve the model and the GPU."""
        return self._products.is_served(self._first) and self._products.is_served(self._second)

    def __call__(self, mel: Tensor) -> Tensor:
        """Return gelu(conv2(gelu(conv1(mel)))) + positions: [windows, n_mels, frames] -> [windows, frames / 2, state].

        Windows follow each other with a frame of zeros at both ends. Rows that cross from one window to the next are
        computed, too, and never read.
        """
        windows, n_mels, frames = mel.shape
        padded, state = frames + 2, self._weights.dims.n_audio_state
        memory = mel.new_zeros(windows * padded * n_mels + _DEPTH)  # the last row is read a little beyond its end
        memory[: windows * padded * n_mels].view(windows, padded, n_mels)[:, 1:-1] = mel.transpose(1, 2)
        rows = windows * padded - 2
        hidden = mel.new_empty(windows * padded, state)
        overlapping = memory.as_strided((rows, self._first.weight.shape[1]), (n_mels, 1))
        self._products.gelu(overlapping, self._first, hidden[1 : 1 + rows])
        ends = hidden.view(windows, padded, state)
        ends[:, 0] = 0
        ends[:, -1] = 0
        rows = windows * padded // 2 - 1
        encoded = mel.new_empty(windows * padded // 2, state)
        overlapping = hidden.as_strided((rows, _TAPS * state), (2 * state, 1))
        self._products.gelu(overlapping, self._second, encoded[:rows])
        return add_positions(encoded.view(windows, padded // 2, state), self._weights.audio_positions)


def _as_map(convolution: Linear) -> Linear:
    """Return a convolution [out, in, taps] as a linear map [out, taps * in], padded with zeros to a multiple."""
    weight = convolution.weight.permute(0, 2, 1).flatten(1)
    return Linear(F.pad(weight, (0, -weight.shape[1] % _DEPTH)).contiguous(), convolution.bias)


@triton.jit
def _add_positions(x, positions, out, frames, padded, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    frame, window = tl.program_id(0), tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, BLOCK)
    inside = channel < WIDTH
    value = tl.load(x + (window * padded + frame) * WIDTH + channel, mask=inside).to(tl.float32)
    value += tl.load(positions + frame * WIDTH + channel, mask=inside)
    tl.store(out + (window * frames + frame) * WIDTH + channel, value.to(out.dtype.element_ty), mask=inside)


def add_positions(x: Tensor, positions: Tensor) -> Tensor:
    """Return x + positions, rounded once: x [windows, at least frames, width], positions [frames, width], float32."""
    windows, padded, width = x.shape
    frames = len(positions)
    out = torch.empty((windows, frames, width), dtype=x.dtype, device=x.device)
    _add_positions[(frames, windows)](
        x, positions, out, frames, padded, WIDTH=width, BLOCK=triton.next_power_of_2(width), num_warps=4,
    )  # fmt: skip
    return out
