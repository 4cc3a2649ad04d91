"""Triton kernels for one decode step of many rows; rows that are not active cost no bandwidth.

Every reduction runs in a fixed order that depends on nothing but the launch's constants.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from whisper_fleet.workers.engine.cache.kv_cache import KvCache
from whisper_fleet.workers.engine.cuda.audio import FusedAudio, Readers
from whisper_fleet.workers.engine.network.attention import PromptAttention
from whisper_fleet.workers.engine.sampling.row_state import IntColumn, RowState


@triton.jit
def _attend_text(
    qkv, cache, out, active, ints, holder, row_stride, part_stride, head_stride, context, scale,
    COLUMNS: tl.constexpr, POSITION: tl.constexpr, HEADS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0), tl.program_id(1)
    if tl.load(active + row) == 0:
        return
    length = tl.load(ints + row * COLUMNS + POSITION)
    channel = tl.arange(0, WIDTH)
    mine = qkv + row.to(tl.int64) * 3 * HEADS * WIDTH + head * WIDTH + channel
    query = tl.load(mine).to(tl.float32) * scale
    key, value = tl.load(mine + HEADS * WIDTH), tl.load(mine + 2 * HEADS * WIDTH)
    kept = cache + row.to(tl.int64) * row_stride + head * head_stride + length * WIDTH + channel
    tl.store(kept, key)
    tl.store(kept + part_stride, value)
    top = tl.sum(query * key.to(tl.float32), 0)
    total = top * 0 + 1.0
    result = value.to(tl.float32)
    position = tl.arange(0, BLOCK)
    for start in range(0, length, BLOCK):
        inside = start + position < length
        where = tl.load(holder + row * context + start + position, mask=inside, other=0).to(tl.int64)
        past = cache + where[:, None] * row_stride + head * head_stride
        past += (start + position)[:, None] * WIDTH + channel[None, :]
        keys = tl.load(past, mask=inside[:, None], other=0.0).to(tl.float32)
        values = tl.load(past + part_stride, mask=inside[:, None], other=0.0).to(tl.float32)
        scores = tl.where(inside, tl.sum(keys * query[None, :], 1), float("-inf"))
        new_top = tl.maximum(top, tl.max(scores, 0))
        shrink = tl.exp(top - new_top)
        chances = tl.exp(scores - new_top)
        total = total * shrink + tl.sum(chances, 0)
        result = result * shrink + tl.sum(values * chances[:, None], 0)
        top = new_top
    to = out + row.to(tl.int64) * HEADS * WIDTH + head * WIDTH + channel
    tl.store(to, (result / total).to(out.dtype.element_ty))


class FusedPromptAttention(PromptAttention):
    """Short prompts read the audio as decode steps do: in place."""

    def __init__(self, cache: KvCache, encoded: FusedAudio, slots: Tensor, length: int, rows: Tensor | None) -> None:
        super().__init__(cache, encoded, slots, length, rows)
        active = torch.ones(len(slots), dtype=torch.int32, device=slots.device)
        self._fused, self._readers = encoded, Readers(active, slots.int()[:, None], 0, length)

    def audio(self, query: Tensor, layer: int) -> Tensor:
        return self._fused.read(query, self._readers, layer)


class FusedStepAttention:
    """One token of rows 0..n: reads the state on the device and only what is filled of the text cache."""

    def __init__(self, cache: KvCache, encoded: FusedAudio, state: RowState, rows: int) -> None:
        self._cache, self._encoded, self._state, self._rows = cache, encoded, state, rows
        self._readers = Readers(state.active, state.ints, int(IntColumn.SLOT), 1)

    def text(self, qkv: Tensor, layer: int) -> Tensor:
        cache = self._cache.text[:, layer]
        heads, context, width = cache.shape[2:]
        out = qkv.new_empty(self._rows, heads * width)
        state = self._state
        _attend_text[(self._rows, heads)](
            qkv, cache, out, state.active, state.ints, state.holder, cache.stride(0), cache.stride(1),
            cache.stride(2), context, width**-0.5, COLUMNS=len(IntColumn), POSITION=int(IntColumn.POSITION),
            HEADS=heads, WIDTH=width, BLOCK=32, num_warps=2,
        )  # fmt: skip
        return out

    def audio(self, query: Tensor, layer: int) -> Tensor:
        return self._encoded.read(query, self._readers, layer)
