"""Attention of decoder tokens in CUDA graphs: a Triton kernel for the text of one decode step of many rows.

Inactive rows cost no memory bandwidth. Every reduction runs in a fixed order that depends only on the launch's
constants. The softmax is computed in one pass over the past (online softmax: Milakov and Gimelshein,
arXiv:1805.02867).
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
    """Store the key and value of one row's token, and attend to the row's past; one program per row and head.

    qkv [row, 3 * state], cache [row, 2, head, position, width], out [row, state], holder [row, position].
    """
    row, head = tl.program_id(0), tl.program_id(1)
    if tl.load(active + row) == 0:
        return
    length = tl.load(ints + row * COLUMNS + POSITION)
    channel = tl.arange(0, WIDTH)
    source = qkv + row.to(tl.int64) * 3 * HEADS * WIDTH + head * WIDTH + channel
    query = tl.load(source).to(tl.float32) * scale
    key, value = tl.load(source + HEADS * WIDTH), tl.load(source + 2 * HEADS * WIDTH)
    target = cache + row.to(tl.int64) * row_stride + head * head_stride + length * WIDTH + channel
    tl.store(target, key)
    tl.store(target + part_stride, value)
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
        weights = tl.exp(scores - new_top)
        total = total * shrink + tl.sum(weights, 0)
        result = result * shrink + tl.sum(values * weights[:, None], 0)
        top = new_top
    to = out + row.to(tl.int64) * HEADS * WIDTH + head * WIDTH + channel
    tl.store(to, (result / total).to(out.dtype.element_ty))


@triton.jit
def _store_text(
    qkv, cache, rows, length, row_stride, part_stride, head_stride,
    STATE: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Store the keys (or values) of one token of a prompt; one program per token and part.

    qkv [window * length, 3 * state], cache [row, 2, head, position, width], rows [window].
    """
    token, part = tl.program_id(0), tl.program_id(1)
    row = tl.load(rows + token // length).to(tl.int64)
    channel = tl.arange(0, BLOCK)
    inside = channel < STATE
    value = tl.load(qkv + token.to(tl.int64) * 3 * STATE + (part + 1) * STATE + channel, mask=inside)
    target = cache + row * row_stride + part * part_stride + (token % length) * WIDTH
    tl.store(target + channel // WIDTH * head_stride + channel % WIDTH, value, mask=inside)


class FusedPromptAttention(PromptAttention):
    """Attention of prompts in CUDA graphs; short ones read the audio in place, as decode steps do."""

    def __init__(
        self,
        cache: KvCache,
        encoded: FusedAudio,
        slots: Tensor,
        length: int,
        rows: Tensor | None,
        *,
        in_place: bool = True,
    ) -> None:
        super().__init__(cache, encoded, slots, length, rows)
        self._fused = encoded
        active = torch.ones(len(slots), dtype=torch.int32, device=slots.device)
        self._readers = Readers(active, slots.int()[:, None], 0, length)
        self._gathered = None if in_place else encoded.gather(slots)  # once for all layers

    def _store(self, qkv: Tensor, cache: Tensor, rows: Tensor) -> None:
        heads, width = cache.shape[2], cache.shape[4]
        state = heads * width
        _store_text[(len(qkv), 2)](
            qkv, cache, rows, self._length, cache.stride(0), cache.stride(1), cache.stride(2), STATE=state,
            WIDTH=width, BLOCK=triton.next_power_of_2(state), num_warps=4,
        )  # fmt: skip

    def audio(self, query: Tensor, layer: int) -> Tensor:
        if self._gathered is None:
            return self._fused.read(query, self._readers, layer)
        windows = query.view(len(self._slots), self._length, -1)
        return self._fused.attend_gathered(windows, self._gathered, layer).view(query.shape)


class FusedStepAttention:
    """Attention of one token per row, for rows 0 to n: it reads row state and only filled cache, on the device."""

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
            HEADS=heads, WIDTH=width, BLOCK=32, num_warps=1,
        )  # fmt: skip
        return out

    def audio(self, query: Tensor, layer: int) -> Tensor:
        return self._encoded.read(query, self._readers, layer)
