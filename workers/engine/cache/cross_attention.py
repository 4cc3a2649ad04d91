"""Encoded audio as decoder tokens attend to it, in either of two forms that give the same text.

Cross-attention's keys and values are linear maps of one encoder output that all layers share. `CachedAudio` keeps
them, for every layer. `AbsorbedAudio` keeps the encoder's output alone and moves the maps to the other side: with
q' = W_k^T q, softmax(q k) v is W_v (softmax(q' x) x) + b_v, for a fraction of the memory and half the bytes a token.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from whisper_fleet.shared.memory import Form
from whisper_fleet.workers.engine.cache.kv_cache import KvCache
from whisper_fleet.workers.engine.model.weights import CrossHeads, Weights


class EncodedAudio(Protocol):
    """What the slots hold; `slots` is a tensor [windows] of their numbers, on the device."""

    def store(self, features: Tensor, slots: Tensor) -> None:
        """Keep audio features [windows, frame, state] in the windows' slots."""

    def keys_values(self, slots: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values [windows, head, frame, width] of a layer, as whisper computes them."""

    def attend(self, query: Tensor, slots: Tensor, layer: int) -> Tensor:
        """[windows, tokens, state] -> [windows, tokens, state]."""


class CachedAudio:
    """Keys and values of every layer: [slot, layer, frame, 2, head, width]."""

    def __init__(self, weights: Weights, cache: KvCache) -> None:
        self._weights, self._cache = weights, cache

    def layers(self, features: Tensor) -> Iterator[Tensor]:
        """The features' keys and values for each layer: [windows, frame, 2 * state]."""
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
    """The encoder's output, which is all that the layers' keys and values are made of: [slot, frame, state]."""

    def __init__(self, weights: Weights, cache: KvCache) -> None:
        self._weights, self._cache = weights, cache
        self._heads = [layer.cross_heads(weights.dims.n_text_head) for layer in weights.decoder]

    def store(self, features: Tensor, slots: Tensor) -> None:
        self._cache.audio[slots] = features

    def keys_values(self, slots: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        linear, heads = self._weights.decoder[layer].cross_kv, self._weights.dims.n_text_head
        projected = F.linear(_of_slots(self._cache.audio, slots), linear.weight, linear.bias)
        key, value = projected.unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4)
        return key, value

    def attend(self, query: Tensor, slots: Tensor, layer: int) -> Tensor:
        heads = self._heads[layer]
        # An absorbed token costs 4 * heads * frames * state operations, projecting 4 * frames * state * state once:
        # even at state / heads tokens, 64 in every Whisper, and so it was measured on a CPU.
        if query.shape[1] >= heads.width:
            return attend_keys(query, *self.keys_values(slots, layer))
        windows, tokens, state = query.shape
        encoded = _of_slots(self._cache.audio, slots)[:, None]
        asked = absorb(query.view(windows * tokens, -1, heads.width), heads)
        asked = asked.view(windows, 1, -1, state)
        read = F.scaled_dot_product_attention(asked, encoded, encoded, scale=1.0)
        return values_of(read.view(windows * tokens, -1, state), heads).view(query.shape)


FORMS: dict[Form, type[CachedAudio] | type[AbsorbedAudio]] = {"cached": CachedAudio, "absorbed": AbsorbedAudio}


def absorb(query: Tensor, heads: CrossHeads) -> Tensor:
    """Queries [n, head, width] as they are put to the encoder's output itself: [n, head, state], scaled.

    The query is rounded as whisper rounds it. The scale is the product's alpha, which multiplies the float32 sums: so
    it costs no rounding of its own, and q' stays far from float16's limits.
    """
    asked = query.new_empty(*query.shape[:2], heads.key.shape[2])
    asked.transpose(0, 1).baddbmm_(query.transpose(0, 1), heads.key, beta=0, alpha=heads.width**-0.5)
    return asked


def values_of(read: Tensor, heads: CrossHeads) -> Tensor:
    """What heads read of the encoder's output [n, head, state] as their values: [n, head * width]."""
    values = heads.value_bias.repeat(len(read), 1, 1)  # added to the float32 sums, as a linear layer's is
    values.transpose(0, 1).baddbmm_(read.transpose(0, 1), heads.value)
    return values.flatten(1)


def _of_slots(cache: Tensor, slots: Tensor) -> Tensor:
    """The windows' part of the cache; a view where the host knows the slot."""
    if len(slots) == 1 and not slots.is_cuda:
        return cache.narrow(0, int(slots), 1)
    return cache[slots]


def attend_keys(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """query [windows, tokens, state] over [windows, head, frame, width]."""
    heads = query.unflatten(-1, (key.shape[1], -1)).transpose(1, 2)
    return F.scaled_dot_product_attention(heads, key, value).transpose(1, 2).flatten(2)
