"""The encoder and the decoder of Whisper over fused weights, with the arithmetic and the rounding of whisper/model.py.

The decoder's layers are written once; an `Attention` object decides how they attend (decode step, prompt, alignment).
"""

from __future__ import annotations

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from whisper_fleet.workers.engine.model.linear import Linear, linear
from whisper_fleet.workers.engine.model.weights import DecoderLayer, EncoderLayer, Norm, Weights


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

    def gelu(self, x: Tensor, linear: Linear) -> Tensor:
        """Return gelu(linear(x)): x [..., in] -> [..., out]."""

    def add_linear(self, x: Tensor, y: Tensor, linear: Linear, norm: Norm) -> tuple[Tensor, Tensor]:
        """Return x + linear(y) and its layer norm, each [..., state]."""


class EncoderParts(Protocol):
    """The parts of the encoder that are computed in ways that differ in speed and in their last bits."""

    def stem(self, mel: Tensor) -> Tensor:
        """Return the input of the first block: mel [windows, n_mels, 3000] -> [windows, n_audio_ctx, state]."""

    def attend(self, qkv: Tensor) -> Tensor:
        """Let frames attend to each other: [windows, frames, 3 * state] -> [windows, frames, state]."""


class PlainArithmetic:
    """The arithmetic in plain torch operations, for any device."""

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        return F.layer_norm(x.float(), x.shape[-1:], norm.weight, norm.bias).to(x.dtype)

    def add_norm(self, x: Tensor, y: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
        total = x + y
        return total, self.norm(total, norm)

    def gelu(self, x: Tensor, linear: Linear) -> Tensor:
        return F.gelu(linear(x))

    def add_linear(self, x: Tensor, y: Tensor, linear: Linear, norm: Norm) -> tuple[Tensor, Tensor]:
        return self.add_norm(x, linear(y), norm)


class Network:
    """The encoder and the decoder of one model; it holds no state of any window."""

    def __init__(self, weights: Weights, arithmetic: Arithmetic, encoder: EncoderParts) -> None:
        self.weights = weights
        self.dims = weights.dims
        self._arithmetic, self._encoder = arithmetic, encoder

    def encode(self, mel: Tensor) -> Tensor:
        """Encode mel [windows, n_mels, 3000] to audio features [windows, n_audio_ctx, n_audio_state]."""
        weights = self.weights
        x = self._encoder.stem(mel)
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
        attended = self._encoder.attend(layer.qkv(normed))
        x, normed = self._arithmetic.add_linear(x, attended, layer.out, layer.mlp_norm)
        hidden = self._arithmetic.gelu(normed, layer.up)
        return self._arithmetic.add_linear(x, hidden, layer.down, following)

    def _decoder_layer(
        self, layer: DecoderLayer, number: int, x: Tensor, normed: Tensor, following: Norm, attention: Attention
    ) -> tuple[Tensor, Tensor]:
        attended = attention.text(layer.qkv(normed), number)
        x, normed = self._arithmetic.add_norm(x, layer.out(attended), layer.cross_norm)
        attended = attention.audio(layer.query(normed), number)
        x, normed = self._arithmetic.add_norm(x, layer.cross_out(attended), layer.mlp_norm)
        hidden = self._arithmetic.gelu(normed, layer.up)
        return self._arithmetic.add_linear(x, hidden, layer.down, following)
