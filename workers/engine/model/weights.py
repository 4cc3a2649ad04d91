"""The weights of a model as the network reads them: fused, in the precision of the model, on its device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whisper_fleet.shared.models import ModelDims
from whisper_fleet.workers.engine.model.checkpoint import Checkpoint
from whisper_fleet.workers.engine.model.linear import Linear, packed


@dataclass(frozen=True)
class Norm:
    """The parameters of a layer norm, which whisper computes in float32 for every precision."""

    weight: Tensor  # float32
    bias: Tensor  # float32


@dataclass(frozen=True)
class EncoderLayer:
    """The weights of one encoder block."""

    norm: Norm
    qkv: Linear  # query, key and value, stacked along the output
    out: Linear
    mlp_norm: Norm
    up: Linear
    down: Linear


@dataclass(frozen=True)
class CrossHeads:
    """The key and value projections of a layer's cross-attention, per head, as views of the fused weights."""

    key: Tensor  # [head, width, state]
    value: Tensor  # [head, state, width]
    value_bias: Tensor  # [head, width]

    @property
    def width(self) -> int:
        """The channels per head."""
        return self.key.shape[1]


@dataclass(frozen=True)
class DecoderLayer:
    """The weights of one decoder block."""

    norm: Norm
    qkv: Linear  # query, key and value, stacked along the output
    out: Linear
    cross_norm: Norm
    query: Linear
    cross_kv: Linear  # key and value, stacked along the output; applied to the encoder's output
    cross_out: Linear
    mlp_norm: Norm
    up: Linear
    down: Linear

    def cross_heads(self, heads: int) -> CrossHeads:
        """Return the key and value of the cross-attention split into `heads` heads."""
        key, value = self.cross_kv.weight.unflatten(0, (2, heads, -1))
        return CrossHeads(key, value.transpose(1, 2), self.cross_kv.bias.unflatten(0, (2, heads, -1))[1])


@dataclass(frozen=True, kw_only=True)
class Weights:
    """All weights of a model."""

    dims: ModelDims
    dtype: torch.dtype
    conv1: Linear
    conv2: Linear
    audio_positions: Tensor  # [n_audio_ctx, n_audio_state], float32
    encoder: tuple[EncoderLayer, ...]
    encoder_norm: Norm
    embedding: Tensor  # [n_vocab, padded with rows of zeros on a GPU, n_text_state]; matrix units need multiples of 64
    text_positions: Tensor  # [n_text_ctx, n_text_state], float32
    decoder: tuple[DecoderLayer, ...]
    decoder_norm: Norm


def place_weights(checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device, *, pack: bool = False) -> Weights:
    """Copy a checkpoint's weights to the device, fused and cast once; whisper casts the same weights at every use.

    `pack` puts linear maps in oneDNN's order, which requires float32 on a CPU (see `linear.packed`).
    """
    return _Placement(checkpoint.weights, dtype, device, pack).weights(checkpoint.dims)


class _Placement:
    """One copy of a checkpoint to a device, block by block."""

    def __init__(self, source: dict[str, Tensor], dtype: torch.dtype, device: torch.device, pack: bool) -> None:
        self._source, self._dtype, self._device, self._pack = source, dtype, device, pack

    def weights(self, dims: ModelDims) -> Weights:
        return Weights(
            dims=dims,
            dtype=self._dtype,
            conv1=self._linear("encoder.conv1"),
            conv2=self._linear("encoder.conv2"),
            audio_positions=self._tensor("encoder.positional_embedding", torch.float32),
            encoder=tuple(self._encoder_layer(layer) for layer in range(dims.n_audio_layer)),
            encoder_norm=self._norm("encoder.ln_post"),
            embedding=self._embedding(),
            text_positions=self._tensor("decoder.positional_embedding", torch.float32),
            decoder=tuple(self._decoder_layer(layer) for layer in range(dims.n_text_layer)),
            decoder_norm=self._norm("decoder.ln"),
        )

    def _encoder_layer(self, layer: int) -> EncoderLayer:
        at = f"encoder.blocks.{layer}"
        return EncoderLayer(
            norm=self._norm(f"{at}.attn_ln"),
            qkv=self._linear(f"{at}.attn.query", f"{at}.attn.key", f"{at}.attn.value"),
            out=self._linear(f"{at}.attn.out"),
            mlp_norm=self._norm(f"{at}.mlp_ln"),
            up=self._linear(f"{at}.mlp.0"),
            down=self._linear(f"{at}.mlp.2"),
        )

    def _decoder_layer(self, layer: int) -> DecoderLayer:
        at = f"decoder.blocks.{layer}"
        return DecoderLayer(
            norm=self._norm(f"{at}.attn_ln"),
            qkv=self._linear(f"{at}.attn.query", f"{at}.attn.key", f"{at}.attn.value"),
            out=self._linear(f"{at}.attn.out"),
            cross_norm=self._norm(f"{at}.cross_attn_ln"),
            query=self._linear(f"{at}.cross_attn.query"),
            cross_kv=self._linear(f"{at}.cross_attn.key", f"{at}.cross_attn.value"),
            cross_out=self._linear(f"{at}.cross_attn.out"),
            mlp_norm=self._norm(f"{at}.mlp_ln"),
            up=self._linear(f"{at}.mlp.0"),
            down=self._linear(f"{at}.mlp.2"),
        )

    def _embedding(self) -> Tensor:
        embedding = self._source["decoder.token_embedding.weight"]
        missing = -embedding.shape[0] % 64 if self._device.type == "cuda" else 0
        return self._move(torch.nn.functional.pad(embedding, (0, 0, 0, missing)), self._dtype)

    def _linear(self, *names: str) -> Linear:
        """Fuse linear maps that have the same input into one; a key has no bias in whisper, so it gets zeros."""
        weight = torch.cat([self._source[f"{name}.weight"] for name in names])
        biases = []
        for name in names:
            rows = self._source[f"{name}.weight"]
            biases.append(self._source.get(f"{name}.bias", rows.new_zeros(rows.shape[0])))
        moved = self._move(weight, self._dtype)
        if self._pack and moved.ndim == 2:
            moved = packed(moved)
        return Linear(moved, self._move(torch.cat(biases), self._dtype))

    def _norm(self, name: str) -> Norm:
        at = (f"{name}.weight", f"{name}.bias")
        weight, bias = (self._tensor(part, torch.float32) for part in at)
        return Norm(weight, bias)

    def _tensor(self, name: str, dtype: torch.dtype) -> Tensor:
        return self._move(self._source[name], dtype)

    def _move(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        # A copy, because a view would keep the mapped checkpoint file open.
        return tensor.to(device=self._device, dtype=dtype, copy=True).contiguous()
