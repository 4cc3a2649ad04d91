"""How decoder tokens attend, in torch's own operations: a prompt, an alignment, a step on any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from workers.engine.kv_cache import KvCache
from workers.engine.state import RowState, Whole


class PromptAttention:
    """Prompts of several windows, right-padded to one length, each from position 0.

    `rows` (one a window, or None) are where the prompts' keys and values are kept for the steps to come.
    """

    def __init__(self, cache: KvCache, slots: Tensor, length: int, rows: Tensor | None) -> None:
        self._cache, self._slots, self._length, self._rows = cache, slots, length, rows

    def text(self, qkv: Tensor, layer: int) -> Tensor:
        cache = self._cache.text[:, layer]  # [row, 2, head, position, width]
        heads, width = cache.shape[2], cache.shape[4]
        query, key, value = qkv.view(-1, self._length, 3, heads, width).permute(2, 0, 3, 1, 4)
        if self._rows is not None:
            cache[self._rows, 0, :, : self._length] = key
            cache[self._rows, 1, :, : self._length] = value
        return _joined(self._attend(query, key, value, causal=True, layer=layer))

    def audio(self, query: Tensor, layer: int) -> Tensor:
        cache = self._cache.audio[:, layer]  # [slot, frame, 2, head, width]
        query = query.view(-1, self._length, *cache.shape[3:]).transpose(1, 2)
        if len(self._slots) == 1:
            encoded = cache.narrow(0, int(self._slots), 1) if not query.is_cuda else cache[self._slots]
        else:
            encoded = cache[self._slots]
        key, value = encoded.permute(2, 0, 3, 1, 4)
        return _joined(self._attend(query, key, value, causal=False, layer=layer))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, *, causal: bool, layer: int) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, is_causal=causal and query.shape[2] > 1)


class AlignmentAttention(PromptAttention):
    """One window's text, read with whisper's unfused attention so that the heads' raw scores can be kept."""

    def __init__(self, cache: KvCache, slots: Tensor, length: int, heads: tuple[tuple[int, int], ...]) -> None:
        super().__init__(cache, slots, length, None)
        self._heads = heads
        self._scores: dict[tuple[int, int], Tensor] = {}

    @property
    def scores(self) -> Tensor:
        """[alignment heads, tokens, frames], float32."""
        return torch.stack([self._scores[head] for head in self._heads])

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, *, causal: bool, layer: int) -> Tensor:
        scale = query.shape[-1] ** -0.25
        scores = (query * scale) @ (key * scale).transpose(-1, -2)
        if causal:
            scores = scores + torch.full_like(scores[0, 0], float("-inf")).triu_(1)
        scores = scores.float()
        if not causal:
            wanted = [(at, head) for at, head in self._heads if at == layer]
            self._scores.update({(at, head): scores[0, head] for at, head in wanted})
        attended: Tensor = scores.softmax(-1).to(query.dtype) @ value
        return attended


class StepAttention:
    """One token of each of `rows`: gathers what it reads, so it serves any device, if not as fast as a kernel."""

    def __init__(self, cache: KvCache, state: RowState, rows: Tensor, longest: int) -> None:
        self._cache, self._rows = cache, rows
        self._positions = state.whole[rows, Whole.POSITION].long()
        self._slots = state.whole[rows, Whole.SLOT].long()
        self._holders = state.holder[rows, :longest].long()
        self._past = torch.arange(longest, device=rows.device)
        self._mask = (self._past <= self._positions[:, None])[:, None, None]

    def text(self, qkv: Tensor, layer: int) -> Tensor:
        cache = self._cache.text[:, layer]  # [row, 2, head, position, width]
        query, key, value = qkv.view(qkv.shape[0], 3, cache.shape[2], -1).unbind(1)
        cache[self._rows, 0, :, self._positions] = key
        cache[self._rows, 1, :, self._positions] = value
        keys, values = (cache[:, part].transpose(1, 2)[self._holders, self._past] for part in (0, 1))
        attended = F.scaled_dot_product_attention(
            query[:, :, None], keys.transpose(1, 2), values.transpose(1, 2), attn_mask=self._mask
        )
        return attended.reshape(qkv.shape[0], -1)

    def audio(self, query: Tensor, layer: int) -> Tensor:
        cache = self._cache.audio[:, layer]  # [slot, frame, 2, head, width]
        key, value = cache[self._slots].permute(2, 0, 3, 1, 4)
        query = query.view(query.shape[0], *cache.shape[3:])[:, :, None]
        return F.scaled_dot_product_attention(query, key, value).reshape(query.shape[0], -1)


class HostStepAttention:
    """One token of each row on a CPU, where nothing is gathered: the host knows lengths and slots.

    `groups`: the rows in order, as (slot, positions of their tokens, physical rows); beams of a window are one group.
    """

    def __init__(self, cache: KvCache, state: RowState, rows: Tensor) -> None:
        self._cache = cache
        self._rows = rows.tolist()
        self._positions: list[int] = state.whole[rows, Whole.POSITION].tolist()
        self._slots: list[int] = state.whole[rows, Whole.SLOT].tolist()
        self._holders = state.holder

    def text(self, qkv: Tensor, layer: int) -> Tensor:
        cache = self._cache.text[:, layer]  # [row, 2, head, position, width]
        query, key, value = qkv.view(qkv.shape[0], 3, cache.shape[2], -1).unbind(1)
        out = torch.empty_like(query)
        for at, (row, position) in enumerate(zip(self._rows, self._positions, strict=True)):
            cache[row, 0, :, position] = key[at]
            cache[row, 1, :, position] = value[at]
            keys, values = self._past(cache, row, position + 1)
            out[at] = F.scaled_dot_product_attention(query[at][None, :, None], keys, values)[0, :, 0]
        return out.view(qkv.shape[0], -1)

    def _past(self, cache: Tensor, row: int, length: int) -> Tensor:
        holders = self._holders[row, :length]
        if bool((holders == row).all()):
            return cache[row, :, None, :, :length]
        past = torch.arange(length)
        return cache.permute(1, 0, 3, 2, 4)[:, holders.long(), past].transpose(1, 2)[:, None]

    def audio(self, query: Tensor, layer: int) -> Tensor:
        cache = self._cache.audio[:, layer]  # [slot, frame, 2, head, width]
        query = query.view(query.shape[0], *cache.shape[3:])
        out = torch.empty_like(query)
        start = 0
        while start < len(self._slots):
            end = start + 1
            while end < len(self._slots) and self._slots[end] == self._slots[start]:
                end += 1
            key, value = cache[self._slots[start]].permute(1, 2, 0, 3)[:, None]
            together = query[start:end].transpose(0, 1)[None]
            out[start:end] = F.scaled_dot_product_attention(together, key, value)[0].transpose(0, 1)
            start = end
        return out.view(query.shape[0], -1)


def _joined(heads: Tensor) -> Tensor:
    """[windows, head, tokens, width] -> [windows * tokens, state]."""
    windows, _, length, _ = heads.shape
    return heads.transpose(1, 2).reshape(windows * length, -1)
