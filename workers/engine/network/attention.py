"""Attention of decoder tokens in plain torch operations: for prompts, alignments, and decode steps on any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from whisper_fleet.workers.engine.cache.cross_attention import EncodedAudio
from whisper_fleet.workers.engine.cache.kv_cache import KvCache, consecutive
from whisper_fleet.workers.engine.sampling.row_state import IntColumn, RowState


class PromptAttention:
    """Attention of the prompts of several windows, right-padded to one length, each from position 0.

    The prompts' keys and values are stored in `rows` (one per window), where decode steps read them; None stores none.
    """

    def __init__(self, cache: KvCache, encoded: EncodedAudio, slots: Tensor, length: int, rows: Tensor | None) -> None:
        self._cache, self._encoded = cache, encoded
        self._slots, self._length, self._rows = slots, length, rows

    def text(self, qkv: Tensor, layer: int) -> Tensor:
        cache = self._cache.text[:, layer]  # [row, 2, head, position, width]
        heads, width = cache.shape[2], cache.shape[4]
        query, key, value = qkv.view(-1, self._length, 3, heads, width).permute(2, 0, 3, 1, 4)
        if self._rows is not None:
            self._store(qkv, cache, self._rows)
        return _joined(self._attend_text(query, key, value))

    def _store(self, qkv: Tensor, cache: Tensor, rows: Tensor) -> None:
        """Store the keys and values of the prompts, qkv [tokens, 3 * state], in the rows of a layer's cache."""
        _, key, value = qkv.view(len(rows), self._length, 3, cache.shape[2], -1).permute(2, 0, 3, 1, 4)
        cache[rows, 0, :, : self._length] = key
        cache[rows, 1, :, : self._length] = value

    def _attend_text(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, is_causal=query.shape[2] > 1)

    def audio(self, query: Tensor, layer: int) -> Tensor:
        windows = query.view(len(self._slots), self._length, -1)
        return self._encoded.attend(windows, self._slots, layer).view(query.shape)


class AlignmentAttention(PromptAttention):
    """Attention of one window's text that also keeps the raw cross-attention scores of the alignment heads.

    The scores are only available without a fused kernel, so this computes what whisper computes without SDPA
    (MultiHeadAttention.qkv_attention in whisper/model.py).
    """

    def __init__(
        self,
        cache: KvCache,
        encoded: EncodedAudio,
        slot: Tensor,
        length: int,
        heads: tuple[tuple[int, int], ...],
    ) -> None:
        super().__init__(cache, encoded, slot, length, None)
        self._heads = heads
        self._scores: dict[tuple[int, int], Tensor] = {}

    @property
    def scores(self) -> Tensor:
        """The scores of the alignment heads before the softmax: [heads, tokens, frames], float32."""
        return torch.stack([self._scores[head] for head in self._heads])

    def _attend_text(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        scores = _scores(query, key)
        scores = scores + torch.full_like(scores[0, 0], float("-inf")).triu_(1)
        return _weighted(scores.float(), value)

    def audio(self, query: Tensor, layer: int) -> Tensor:
        key, value = self._encoded.keys_values(self._slots, layer)
        heads = query.view(1, self._length, key.shape[1], -1).transpose(1, 2)
        scores = _scores(heads, key).float()
        self._scores.update({(at, head): scores[0, head] for at, head in self._heads if at == layer})
        return _joined(_weighted(scores, value))


class StepAttention:
    """Attention of one token per row, for any device: keys and values are gathered, which is slower than a kernel."""

    def __init__(self, cache: KvCache, encoded: EncodedAudio, state: RowState, rows: Tensor) -> None:
        self._cache, self._encoded, self._rows = cache, encoded, rows
        self._positions = state.ints[rows, IntColumn.POSITION].long()
        self._slots = state.ints[rows, IntColumn.SLOT].long()
        self._holders = state.holder[rows].long()
        self._past = torch.arange(self._holders.shape[1], device=rows.device)
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
        return self._encoded.attend(query[:, None], self._slots, layer)[:, 0]


class HostStepAttention:
    """Attention of one token per row on a CPU, where the host knows lengths and slots, so that little is gathered.

    Rows and slots with consecutive numbers, which are the usual case, are read in one operation per layer.
    """

    def __init__(self, cache: KvCache, encoded: EncodedAudio, state: RowState, rows: Tensor) -> None:
        self._cache, self._encoded, self._rows = cache, encoded, rows
        self._positions = state.ints[rows, IntColumn.POSITION].long()
        length = int(self._positions.max()) + 1
        ahead = torch.arange(length) > self._positions[:, None]
        self._holders = state.holder[rows, :length].long()
        self._holds_all = ((self._holders == rows[:, None]) | ahead).all(1).tolist()  # not if it shares a past
        self._lengths = (self._positions + 1).tolist()
        self._is_contiguous = consecutive(rows) and all(self._holds_all)
        self._mask = None
        if len(rows) > 1:
            self._mask = torch.zeros(ahead.shape).masked_fill_(ahead, float("-inf"))[:, None, None]
        slots = state.ints[rows, IntColumn.SLOT].long()
        self._order = slots.argsort(stable=True)
        ordered = slots[self._order]
        self._ordered = ordered if len(rows) > 1 and consecutive(ordered) else None
        #: Otherwise: the slots in the order of the rows, and how many adjacent rows share each. Beams share a slot.
        shared, counts = slots.unique_consecutive(return_counts=True)
        self._slots, self._rows_per_slot = shared.split(1), counts.tolist()

    def text(self, qkv: Tensor, layer: int) -> Tensor:
        cache = self._cache.text[:, layer]  # [row, 2, head, position, width]
        query, key, value = qkv.view(qkv.shape[0], 3, cache.shape[2], -1).unbind(1)
        cache[self._rows, 0, :, self._positions] = key
        cache[self._rows, 1, :, self._positions] = value
        if self._is_contiguous:
            past = cache.narrow(0, int(self._rows[0]), len(self._rows))[:, :, :, : self._holders.shape[1]]
            attended = F.scaled_dot_product_attention(query[:, :, None], past[:, 0], past[:, 1], attn_mask=self._mask)
            return attended.reshape(qkv.shape[0], -1)
        attended_rows = [
            F.scaled_dot_product_attention(query[at][None, :, None], *self._past(cache, at))
            for at in range(len(self._rows))
        ]
        return torch.cat(attended_rows).view(qkv.shape[0], -1)

    def _past(self, cache: Tensor, at: int) -> Tensor:
        """Return the keys and values of one row, [2, 1, head, position, width]; a past that beams share is gathered."""
        length = self._lengths[at]
        if self._holds_all[at]:
            return cache[int(self._rows[at]), :, None, :, :length]
        past = torch.arange(length)
        return cache.permute(1, 0, 3, 2, 4)[:, self._holders[at, :length], past].transpose(1, 2)[:, None]

    def audio(self, query: Tensor, layer: int) -> Tensor:
        if self._ordered is not None:
            attended = self._encoded.attend(query[self._order, None], self._ordered, layer)[:, 0]
            return torch.empty_like(attended).index_copy_(0, self._order, attended)
        groups = zip(query.split(self._rows_per_slot), self._slots, strict=True)
        return torch.cat([self._encoded.attend(queries[None], slot, layer)[0] for queries, slot in groups])


def step_attention(
    cache: KvCache, encoded: EncodedAudio, state: RowState, rows: Tensor
) -> HostStepAttention | StepAttention:
    """Return the attention of one token per row that suits the device of the rows."""
    return (StepAttention if rows.is_cuda else HostStepAttention)(cache, encoded, state, rows)


def _scores(query: Tensor, key: Tensor) -> Tensor:
    """Return the scores, rounded as in whisper: the square root of the scale is applied to query and to key."""
    scale = query.shape[-1] ** -0.25
    scores: Tensor = (query * scale) @ (key * scale).transpose(-1, -2)
    return scores


def _weighted(scores: Tensor, value: Tensor) -> Tensor:
    attended: Tensor = scores.softmax(-1).to(value.dtype) @ value
    return attended


def _joined(heads: Tensor) -> Tensor:
    """Join the heads: [windows, head, tokens, width] -> [windows * tokens, state]."""
    windows, _, length, _ = heads.shape
    return heads.transpose(1, 2).reshape(windows * length, -1)
