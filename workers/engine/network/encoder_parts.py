"""The encoder's convolutions and self-attention in torch's operations, bit for bit as whisper/model.py on a GPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from whisper_fleet.workers.engine.model.linear import Linear
from whisper_fleet.workers.engine.model.weights import Weights
from whisper_fleet.workers.engine.network.host_attention import attend_to_itself


class Convolution:
    """A convolution of the encoder whose result for a window does not depend on the other windows of the batch.

    cuDNN may choose another algorithm for several windows than for one, and then the last bits of its sums differ. This
    is tested once per number of windows; where they differ, windows are convolved one by one.
    """

    def __init__(self, linear: Linear, *, stride: int) -> None:
        self._linear, self._stride = linear, stride
        self._can_batch = {1: True}  # by number of windows

    def __call__(self, x: Tensor) -> Tensor:
        """Convolve: [windows, in, frames] -> [windows, out, frames / stride]."""
        windows = len(x)
        if windows not in self._can_batch:
            sample = torch.randn_like(x)
            self._can_batch[windows] = torch.equal(self._convolve(sample), self._one_by_one(sample))
        return self._convolve(x) if self._can_batch[windows] else self._one_by_one(x)

    def _convolve(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self._linear.weight, self._linear.bias, stride=self._stride, padding=1)

    def _one_by_one(self, x: Tensor) -> Tensor:
        return torch.cat([self._convolve(window) for window in x.split(1)])


class PlainEncoderParts:
    """The parts of one model's encoder, for any device."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._first = Convolution(weights.conv1, stride=1)
        self._second = Convolution(weights.conv2, stride=2)

    def stem(self, mel: Tensor) -> Tensor:
        x = F.gelu(self._second(F.gelu(self._first(mel))))
        return (x.permute(0, 2, 1) + self._weights.audio_positions).to(mel.dtype).contiguous()

    def attend(self, qkv: Tensor) -> Tensor:
        windows, length, columns = qkv.shape
        heads = qkv.view(windows, length, 3, self._weights.dims.n_audio_head, -1).permute(2, 0, 3, 1, 4)
        attended = attend_to_itself(heads[0], heads[1], heads[2])
        return attended.transpose(1, 2).reshape(windows, length, columns // 3)
