"""Triton kernels for one decode step of many rows; rows that are not active cost no bandwidth.

Every reduction runs in a fixed order that depends on nothing but the launch's constants.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from workers.engine.attention import PromptAttention
from workers.engine.kv_cache import KvCache
from workers.engine.state import RowState, Whole
from workers.engine.weights import Norm


@triton.jit
def _add_norm(x, y, total, normed, weight, bias, width, HAS_Y: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < width
    value = tl.load(x + row * width + column, mask=inside, other=0.0).to(tl.float32)
    if HAS_Y:
        value += tl.load(y + row * width + column, mask=inside, other=0.0).to(tl.float32)
        rounded = value.to(total.dtype.element_ty)
        tl.store(total + row * width + column, rounded, mask=inside)
        value = rounded.to(tl.float32)
    mean = tl.sum(value, 0) / width
    centred = tl.where(inside, value - mean, 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, 0) / width + 1e-5)
    w = tl.load(weight + column, mask=inside, other=0.0)
    b = tl.load(bias + column, mask=inside, other=0.0)
    tl.store(normed + row * width + column, (centred * scale * w + b).to(normed.dtype.element_ty), mask=inside)


class FusedArithmetic:
    """Residual addition and layer norm in one pass over memory."""

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        normed = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        self._launch(x.contiguous(), None, None, normed, norm)
        return normed

    def add_norm(self, x: Tensor, y: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
        total, normed = torch.empty_like(x), torch.empty_like(x)
        self._launch(x, y, total, normed, norm)
        return total, normed

    @staticmethod
    def _launch(x: Tensor, y: Tensor | None, total: Tensor | None, normed: Tensor, norm: Norm) -> None:
        width = x.shape[-1]
        block = triton.next_power_of_2(width)
        _add_norm[(x.numel() // width,)](
            x,
            x if y is None else y,
            normed if total is None else total,
            normed,
            norm.weight,
            norm.bias,
            width,
            HAS_Y=y is not None,
            BLOCK=block,
            num_warps=4 if block <= 1024 else 8,
        )


@triton.jit
def _attend_text(
    qkv, cache, out, active, whole, holder, row_stride, part_stride, head_stride, context, scale,
    COLUMNS: tl.constexpr, POSITION: tl.constexpr, HEADS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0), tl.program_id(1)
    if tl.load(active + row) == 0:
        return
    length = tl.load(whole + row * COLUMNS + POSITION)
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


@triton.jit
def _attend_audio(
    query, cache, out, tops, totals, active, slots, slot_stride, frame_stride, part_stride, frames, span, scale,
    PER_ROW: tl.constexpr, COLUMNS: tl.constexpr, SLOT: tl.constexpr, HEADS: tl.constexpr,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    row, head, split = tl.program_id(1), tl.program_id(0), tl.program_id(2)
    source = row // PER_ROW
    if tl.load(active + source) == 0:
        return
    slot = tl.load(slots + source * COLUMNS + SLOT).to(tl.int64)
    channel = tl.arange(0, WIDTH)
    q = tl.load(query + (row * HEADS + head) * WIDTH + channel).to(tl.float32) * scale
    frame = tl.arange(0, BLOCK)
    base = cache + slot * slot_stride + head * WIDTH + channel[None, :]
    top = tl.sum(q, 0) * 0 - 1e30
    total = top * 0
    result = q * 0
    first = split * span
    last = tl.minimum(first + span, frames)
    for start in range(first, last, BLOCK):
        inside = start + frame < last
        at = base + (start + frame)[:, None] * frame_stride
        keys = tl.load(at, mask=inside[:, None], other=0.0)
        values = tl.load(at + part_stride, mask=inside[:, None], other=0.0)
        scores = tl.where(inside, tl.sum(keys.to(tl.float32) * q[None, :], 1), float("-inf"))
        new_top = tl.maximum(top, tl.max(scores, 0))
        shrink = tl.exp(top - new_top)
        chances = tl.exp(scores - new_top)
        total = total * shrink + tl.sum(chances, 0)
        result = result * shrink + tl.sum(values.to(tl.float32) * chances[:, None], 0)
        top = new_top
    to = (row * HEADS + head) * SPLITS + split
    if SPLITS == 1:
        tl.store(out + to * WIDTH + channel, (result / total).to(out.dtype.element_ty))
    else:
        tl.store(out + to * WIDTH + channel, result)
        tl.store(tops + to, top)
        tl.store(totals + to, total)


@triton.jit
def _merge(parts, tops, totals, out, SPLITS: tl.constexpr, PADDED: tl.constexpr, WIDTH: tl.constexpr):
    at = tl.program_id(0)
    split, channel = tl.arange(0, PADDED), tl.arange(0, WIDTH)
    there = split < SPLITS
    top = tl.load(tops + at * SPLITS + split, mask=there, other=-1e30)
    weight = tl.where(there, tl.exp(top - tl.max(top, 0)), 0.0)
    total = tl.sum(weight * tl.load(totals + at * SPLITS + split, mask=there, other=0.0), 0)
    part = tl.load(
        parts + (at * SPLITS + split[:, None]) * WIDTH + channel[None, :], mask=there[:, None], other=0.0
    )
    tl.store(out + at * WIDTH + channel, (tl.sum(part * weight[:, None], 0) / total).to(out.dtype.element_ty))


@triton.jit
def _store_audio(source, cache, slots, slot_stride, frame_stride, frames, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    frame, window = tl.program_id(0), tl.program_id(1)
    slot = tl.load(slots + window)
    channel = tl.arange(0, BLOCK)
    inside = channel < WIDTH
    value = tl.load(source + (window.to(tl.int64) * frames + frame) * WIDTH + channel, mask=inside)
    tl.store(cache + slot * slot_stride + frame * frame_stride + channel, value, mask=inside)


def store_audio(projected: Tensor, cache: Tensor, slots: Tensor) -> None:
    """Copy keys and values [windows, frames, 2 * state] into cache [slot, frame, 2, head, width]."""
    windows, frames, width = projected.shape
    _store_audio[(frames, windows)](
        projected, cache, slots, cache.stride(0), cache.stride(1), frames, WIDTH=width,
        BLOCK=triton.next_power_of_2(width), num_warps=4,
    )  # fmt: skip


class FusedPromptAttention(PromptAttention):
    """Short prompts read the audio as decode steps do: without a copy of the keys and values."""

    def audio(self, query: Tensor, layer: int) -> Tensor:
        active = torch.ones(len(self._slots), dtype=torch.int32, device=query.device)
        return attend_audio(
            query, self._cache.audio[:, layer], active, self._slots.int(), 1, 0, self._length, 2
        )  # fmt: skip


class FusedStepAttention:
    """One token of rows 0..n: reads the state on the device and only what is filled of the text cache."""

    def __init__(self, cache: KvCache, state: RowState, rows: int, splits: int) -> None:
        self._cache, self._state, self._rows, self._splits = cache, state, rows, splits

    def text(self, qkv: Tensor, layer: int) -> Tensor:
        cache = self._cache.text[:, layer]
        heads, context, width = cache.shape[2:]
        out = qkv.new_empty(self._rows, heads * width)
        state = self._state
        _attend_text[(self._rows, heads)](
            qkv, cache, out, state.active, state.whole, state.holder, cache.stride(0), cache.stride(1),
            cache.stride(2), context, width**-0.5, COLUMNS=len(Whole), POSITION=int(Whole.POSITION),
            HEADS=heads, WIDTH=width, BLOCK=32, num_warps=2,
        )  # fmt: skip
        return out

    def audio(self, query: Tensor, layer: int) -> Tensor:
        state = self._state
        return attend_audio(
            query, self._cache.audio[:, layer], state.active, state.whole, len(Whole), int(Whole.SLOT), 1,
            self._splits,
        )  # fmt: skip


def attend_audio(
    query: Tensor, cache: Tensor, active: Tensor, slots: Tensor, columns: int, slot_column: int, per_row: int,
    splits: int, block: int = 32, warps: int = 2,
) -> Tensor:  # fmt: skip
    """query [n, state] over cache [slot, frame, 2, head, width]; `per_row` queries follow each other a row."""
    frames, _, heads, width = cache.shape[1:]
    n = query.shape[0]
    out = torch.empty_like(query)
    parts, tops, totals = out, out, out
    if splits > 1:
        parts = torch.empty(n * heads * splits * width, dtype=torch.float32, device=query.device)
        tops = torch.empty(n * heads * splits, dtype=torch.float32, device=query.device)
        totals = torch.empty_like(tops)
    span = triton.cdiv(triton.cdiv(frames, splits), block) * block
    _attend_audio[(heads, n, splits)](
        query, cache, parts, tops, totals, active, slots, cache.stride(0), cache.stride(1), cache.stride(2), frames,
        span, width**-0.5, PER_ROW=per_row, COLUMNS=columns, SLOT=slot_column, HEADS=heads, WIDTH=width, BLOCK=block,
        SPLITS=splits, num_warps=warps,
    )  # fmt: skip
    if splits > 1:
        padded = triton.next_power_of_2(splits)
        _merge[(n * heads,)](parts, tops, totals, out, SPLITS=splits, PADDED=padded, WIDTH=width, num_warps=1)
    return out
