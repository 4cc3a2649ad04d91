"""The encoder and the decoder of Whisper over fused weights, with the arithmetic and the rounding of whisper/model.py.

The decoder's layers are written once; an `Attention` object decides how they attend (decode step, prompt, alignment).
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from whisper_fleet.workers.engine.model.linear import Linear, linear
from whisper_fleet.workers.engine.model.weights import DecoderLayer, EncoderLayer, Norm, Weights
from whisper_fleet.workers.engine.network.host_attention import attend_to_itself


class Attention(Protocol):
    """How decoder tokens attend to the text before them and to the audio."""

    def text(self, qkv: Tensor, layer: int) -> Tensor:
        """Attend to text: query, key and value [tokens, 3 * state] -> [tokens, state]; stores the keys and values."""

    def audio(self, query: Tensor, layer: int) -> Tensor:
        """Attend to the audio: query [tokens, state] -> [tokens, state]."""


class Arithmetic(Protocol):
    """The operations between linear maps and attention, plain or fused."""

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        """Return the layer norm of x [..., state], computed in float32 and rounded once, as in whisper."""

    def add_norm(self, x: Tensor, y: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
        """Return x + y and its layer norm, each [..., state]."""


class PlainArithmetic:
    """The arithmetic in plain torch operations, for any device."""

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        return F.layer_norm(x.float(), x.shape[-1:], norm.weight, norm.bias).to(x.dtype)

    def add_norm(self, x: Tensor, y: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
        total = x + y
        return total, self.norm(total, norm)


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


class Network:
    """The encoder and the decoder of one model; it holds no state of any window."""

    def __init__(self, weights: Weights, arithmetic: Arithmetic) -> None:
        self.weights = weights
        self.dims = weights.dims
        self._arithmetic = arithmetic
        self._first = Convolution(weights.conv1, stride=1)
        self._second = Convolution(weights.conv2, stride=2)

    def encode(self, mel: Tensor) -> Tensor:
        """Encode mel [windows, n_mels, 3000] to audio features [windows, n_audio_ctx, n_audio_state]."""
        weights = self.weights
        x = F.gelu(self._second(F.gelu(self._first(mel))))
        x = (x.permute(0, 2, 1) + weights.audio_positions).to(mel.dtype).contiguous()
        norms = [layer.norm for layer in weights.encoder[1:]] + [weights.encoder_norm]
        normed = self._arithmetic.norm(x, weights.encoder[0].norm)
        for layer, following in zip(weights.encoder, norms, strict=True):
            x, normed = self._encoder_layer(layer, x, normed, following)
        return normed

    def decode(self, tokens: Tensor, positions: Tensor, attention: Attention) -> Tensor:
        """Return the final hidden state [n, n_text_state] of tokens [n] at positions [n]."""
        weights = self.weights
        x = (weights.embedding[tokens].float() + weights.text_positions[positions]).to(weights.dtype)
        norms = [layer.norm for layer in weights.decoder[1:]] + [weights.decoder_norm]
        normed = self._arithmetic.norm(x, weights.decoder[0].norm)
        for number, (layer, following) in enumerate(zip(weights.decoder, norms, strict=True)):
            x, normed = self._decoder_layer(layer, number, x, normed, following, attention)
        return normed

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits [n, n_vocab] of hidden states [n, n_text_state], in the model's precision."""
        return linear(hidden, self.weights.embedding, None)[:, : self.dims.n_vocab]

    def _encoder_layer(self, layer: EncoderLayer, x: Tensor, normed: Tensor, following: Norm) -> tuple[Tensor, Tensor]:
        windows, length, state = x.shape
        qkv = layer.qkv(normed)
        heads = qkv.view(windows, length, 3, self.dims.n_audio_head, -1).permute(2, 0, 3, 1, 4)
        attended = attend_to_itself(heads[0], heads[1], heads[2])
        attended = attended.transpose(1, 2).reshape(windows, length, state)
        attended = layer.out(attended)
        x, normed = self._arithmetic.add_norm(x, attended, layer.mlp_norm)
        hidden = F.gelu(layer.up(normed))
        return self._arithmetic.add_norm(x, layer.down(hidden), following)

    def _decoder_layer(
        self, layer: DecoderLayer, number: int, x: Tensor, normed: Tensor, following: Norm, attention: Attention
    ) -> tuple[Tensor, Tensor]:
        attended = attention.text(layer.qkv(normed), number)
        x, normed = self._arithmetic.add_norm(x, layer.out(attended), layer.cross_norm)
        attended = attention.audio(layer.query(normed), number)
        x, normed = self._arithmetic.add_norm(x, layer.cross_out(attended), layer.mlp_norm)
        hidden = F.gelu(layer.up(normed))
        return self._arithmetic.add_norm(x, layer.down(hidden), following)
