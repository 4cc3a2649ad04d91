"""Attention on an x86 CPU, computed with oneDNN's products, and the layout of encoded audio that suits a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from whisper_fleet.shared.models import Form
from whisper_fleet.workers.engine.cache.cross_attention import FORMS, CachedAudio, EncodedAudio
from whisper_fleet.workers.engine.cache.kv_cache import KvCache, consecutive
from whisper_fleet.workers.engine.model.linear import can_pack, product
from whisper_fleet.workers.engine.model.weights import Weights

#: Queries per product: their scores over all frames of a window fit into the cache of a core.
_QUERIES = 500


def attend_to_itself(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute the encoder's self-attention; query, key, value and result are [windows, head, frame, width]."""
    if query.is_cuda or query.dtype != torch.float32 or not can_pack():
        return F.scaled_dot_product_attention(query, key, value)
    shape = query.shape
    query = (query * shape[-1] ** -0.5).flatten(0, 1)
    key, values = (part.contiguous().flatten(0, 1) for part in (key, value.transpose(2, 3)))
    out = torch.empty_like(query)
    for head, (keys, head_values) in enumerate(zip(key, values, strict=True)):
        for start in range(0, shape[2], _QUERIES):
            block = slice(start, start + _QUERIES)
            scores = product(query[head, block], keys)
            out[head, block] = product(torch.softmax(scores, -1, out=scores), head_values)
    return out.view(shape)


class HostAudio(CachedAudio):
    """Cached keys and values in the order [slot, layer, 2, head, frame, width], so that a step reads contiguously."""

    def __init__(self, weights: Weights, cache: KvCache) -> None:
        super().__init__(weights, cache)
        slots, layers, frames, _, heads, width = cache.audio.shape
        self._by_head = cache.audio.view(slots, layers, 2, heads, frames, width)

    def store(self, features: Tensor, slots: Tensor) -> None:
        for number, projected in enumerate(self.layers(features)):
            parts = projected.unflatten(-1, (2, self._by_head.shape[3], -1)).permute(0, 2, 3, 1, 4)
            for slot, keys_values in zip(slots.tolist(), parts, strict=True):
                self._by_head[slot, number] = keys_values

    def keys_values(self, slots: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        cached, first = self._by_head[:, layer], int(slots[0])
        chosen = cached.narrow(0, first, len(slots)) if consecutive(slots) else cached[slots]
        return chosen[:, 0], chosen[:, 1]


def plain_audio(form: Form, weights: Weights, cache: KvCache) -> EncodedAudio:
    """Return the encoded audio in this form for a device without our kernels."""
    if form == "cached" and not cache.audio.is_cuda:
        return HostAudio(weights, cache)
    return FORMS[form](weights, cache)
