"""The encoded audio that decoder tokens attend to, in one of two forms that give the same text.

The keys and values of cross-attention are linear maps of one encoder output, which all layers share. `CachedAudio`
stores keys and values, per layer. `AbsorbedAudio` stores only the encoder's output x and applies the maps to the query
and to the result instead: with q' = W_k^T q, softmax(q k) v equals W_v (softmax(q' x) x) + b_v. That takes a fraction
of the memory, and half of the bytes per token. The idea is that of multi-head latent attention (DeepSeek-V2,
arXiv:2405.04434, section 2.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from whisper_fleet.shared.models import Form
from whisper_fleet.workers.engine.cache.kv_cache import KvCache
from whisper_fleet.workers.engine.model.weights import CrossHeads, Weights


class EncodedAudio(Protocol):
    """The encoded audio in all cache slots; `slots` are the numbers of the slots to use: [windows], on the device."""

    def store(self, features: Tensor, slots: Tensor) -> None:
        """Store audio features [windows, frame, state] in the slots."""

    def keys_values(self, slots: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Return the keys and values of a layer, each [windows, head, frame, width], as whisper computes them."""

    def attend(self, query: Tensor, slots: Tensor, layer: int) -> Tensor:
        """Attend to the audio in a layer: query [windows, tokens, state] -> [windows, tokens, state]."""


class CachedAudio:
    """Encoded audio as the keys and values of every layer: [slot, layer, frame, 2, head, width]."""

    def __init__(self, weights: Weights, cache: KvCache) -> None:
        self._weights, self._cache = weights, cache

    def layers(self, features: Tensor) -> Iterator[Tensor]:
        """Yield the keys and values of the features, layer by layer: [windows, frame, 2 * state]."""
        for layer in self._weights.decoder:
            yield layer.cross_kv(features)

    def store(self, features: Tensor, slots: Tensor) -> None:
        audio = self._cache.audio
        for number, projected in enumerate(self.layers(features)):
            audio[slots, number] = projected.view(len(slots), *audio.shape[2:])

    def keys_values(self, slots: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        key, value = _of_slots(self._cache.audio[:, layer], slots).permute(2, 0, 3, 1, 4)
        return key, value

    def attend(self, query: Tensor, slots: Tensor, layer: int) -> Tensor:
        return attend_keys(query, *self.keys_values(slots, layer))


class AbsorbedAudio:
    """Encoded audio as the encoder's output, from which every layer computes keys and values: [slot, frame, state]."""

    def __init__(self, weights: Weights, cache: KvCache) -> None:
        self._weights, self._cache = weights, cache
        self._heads = [layer.cross_heads(weights.dims.n_text_head) for layer in weights.decoder]

    def store(self, features: Tensor, slots: Tensor) -> None:
        self._cache.audio[slots] = features

    def keys_values(self, slots: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        return self.project(_of_slots(self._cache.audio, slots), layer)

    def project(self, features: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Return the keys and values of a layer for features [windows, frame, state], as `keys_values` does."""
        linear, heads = self._weights.decoder[layer].cross_kv, self._weights.dims.n_text_head
        projected = F.linear(features, linear.weight, linear.bias)
        key, value = projected.unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4)
        return key, value

    def attend(self, query: Tensor, slots: Tensor, layer: int) -> Tensor:
        heads = self._heads[layer]
        # An absorbed token costs 4 * heads * frames * state operations; projecting costs 4 * frames * state * state,
        # once. Both are equal at state / heads tokens (64 in every Whisper), as a measurement on a CPU confirms.
        if query.shape[1] >= heads.width:
            return attend_keys(query, *self.keys_values(slots, layer))
        windows, tokens, state = query.shape
        encoded = _of_slots(self._cache.audio, slots)[:, None]
        absorbed = absorb(query.view(windows * tokens, -1, heads.width), heads)
        absorbed = absorbed.view(windows, 1, -1, state)
        attended = F.scaled_dot_product_attention(absorbed, encoded, encoded, scale=1.0)
        return values_of(attended.view(windows * tokens, -1, state), heads).view(query.shape)


FORMS: dict[Form, type[CachedAudio] | type[AbsorbedAudio]] = {"cached": CachedAudio, "absorbed": AbsorbedAudio}


def absorb(query: Tensor, heads: CrossHeads) -> Tensor:
    """Apply the key projection to scaled queries: [n, head, width] -> [n, head, state], for the encoder's output.

    The query is rounded as whisper rounds it. The scale is passed as the alpha of the product, which multiplies the
    float32 sums: this way it adds no rounding, and q' stays far from the limits of float16.
    """
    absorbed = query.new_empty(*query.shape[:2], heads.key.shape[2])
    absorbed.transpose(0, 1).baddbmm_(query.transpose(0, 1), heads.key, beta=0, alpha=heads.width**-0.5)
    return absorbed


def values_of(attended: Tensor, heads: CrossHeads) -> Tensor:
    """Apply the value projection to attended encoder output: [n, head, state] -> [n, head * width]."""
    values = heads.value_bias.repeat(len(attended), 1, 1)  # added to the float32 sums, as in a linear layer
    values.transpose(0, 1).baddbmm_(attended.transpose(0, 1), heads.value)
    return values.flatten(1)


def _of_slots(cache: Tensor, slots: Tensor) -> Tensor:
    """Return the part of the cache that belongs to the slots; a view if there is one slot and the host knows it."""
    if len(slots) == 1 and not slots.is_cuda:
        return cache.narrow(0, int(slots), 1)
    return cache[slots]


def attend_keys(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend to keys and values [windows, head, frame, width]: query [windows, tokens, state] -> the same shape."""
    heads = query.unflatten(-1, (key.shape[1], -1)).transpose(1, 2)
    return F.scaled_dot_product_attention(heads, key, value).transpose(1, 2).flatten(2)
