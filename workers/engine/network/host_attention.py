"""How an x86 CPU attends: through oneDNN's products, and over keys and values that lie head by head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from whisper_fleet.shared.memory import Form
from whisper_fleet.workers.engine.cache.cross_attention import FORMS, CachedAudio, EncodedAudio
from whisper_fleet.workers.engine.cache.kv_cache import KvCache, consecutive
from whisper_fleet.workers.engine.model.linear import can_pack, product
from whisper_fleet.workers.engine.model.weights import Weights

#: Queries whose scores over a window's frames stay in a core's cache.
_QUERIES = 500


def attend_to_itself(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of encoded frames to each other, all [windows, head, frame, width]."""
    if query.is_cuda or query.dtype != torch.float32 or not can_pack():
        return F.scaled_dot_product_attention(query, key, value)
    shape = query.shape
    query = (query * shape[-1] ** -0.5).flatten(0, 1)
    key, values = (part.contiguous().flatten(0, 1) for part in (key, value.transpose(2, 3)))
    out = torch.empty_like(query)
    for head, weights in enumerate(zip(key, values, strict=True)):
        for start in range(0, shape[2], _QUERIES):
            some = slice(start, start + _QUERIES)
            scores = product(query[head, some], weights[0])
            out[head, some] = product(torch.softmax(scores, -1, out=scores), weights[1])
    return out.view(shape)


class HostAudio(CachedAudio):
    """Cached keys and values, [slot, layer, 2, head, frame, width]: a step reads each head's in one piece."""

    def __init__(self, weights: Weights, cache: KvCache) -> None:
        super().__init__(weights, cache)
        slots, layers, frames, _, heads, width = cache.audio.shape
        self._by_head = cache.audio.view(slots, layers, 2, heads, frames, width)

    def store(self, features: Tensor, slots: Tensor) -> None:
        for number, projected in enumerate(self.layers(features)):
            parts = projected.unflatten(-1, (2, self._by_head.shape[3], -1)).permute(0, 2, 3, 1, 4)
            for slot, one in zip(slots.tolist(), parts, strict=True):
                self._by_head[slot, number] = one

    def keys_values(self, slots: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        kept, first = self._by_head[:, layer], int(slots[0])
        chosen = kept.narrow(0, first, len(slots)) if consecutive(slots) else kept[slots]
        return chosen[:, 0], chosen[:, 1]


def plain_audio(form: Form, weights: Weights, cache: KvCache) -> EncodedAudio:
    """What the slots hold where no kernel of ours serves."""
    if form == "cached" and not cache.audio.is_cuda:
        return HostAudio(weights, cache)
    return FORMS[form](weights, cache)
