"""Encoded audio in CUDA graphs: kernels that store it and attend to it, for either form of cross-attention.

Inactive rows cost no memory bandwidth. Every reduction runs in a fixed order that depends only on the launch's
constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import triton
import triton.language as tl
from torch import Tensor

from whisper_fleet.shared.models import Form
from whisper_fleet.workers.engine.cache.cross_attention import (
    AbsorbedAudio,
    CachedAudio,
    EncodedAudio,
    absorb,
    attend_keys,
    values_of,
)
from whisper_fleet.workers.engine.cache.kv_cache import KvCache
from whisper_fleet.workers.engine.cuda.latent import LatentAttention, Shape
from whisper_fleet.workers.engine.model.weights import Weights

_PROGRAMS = 4096  # thread blocks that saturate the memory bandwidth of a large GPU


@dataclass(frozen=True)
class Readers:
    """Which slot each query reads, as tensors on the device; each row of `slots` has `per_row` adjacent queries."""

    active: Tensor  # [row]: 0 if the row reads nothing
    slots: Tensor  # [row, columns]
    column: int  # of `slots` that holds the slot's number
    per_row: int


class FusedAudio(EncodedAudio, Protocol):
    """Encoded audio that kernels in a CUDA graph read in place."""

    def read(self, query: Tensor, readers: Readers, layer: int) -> Tensor:
        """Attend to the audio: query [n, state] -> [n, state]; the result of inactive rows is undefined."""

    def gather(self, slots: Tensor) -> Tensor:
        """Return what `attend_gathered` reads in every layer of slots [windows]."""

    def attend_gathered(self, query: Tensor, gathered: Tensor, layer: int) -> Tensor:
        """Attend to gathered audio in a layer: query [windows, tokens, state] -> [windows, tokens, state]."""


class FusedCachedAudio(CachedAudio):
    """Keys and values of every layer; frames are split among enough thread blocks to fill the GPU."""

    def store(self, features: Tensor, slots: Tensor) -> None:
        for number, projected in enumerate(self.layers(features)):
            store_audio(projected, self._cache.audio[:, number], slots)

    def read(self, query: Tensor, readers: Readers, layer: int) -> Tensor:
        heads = self._weights.dims.n_text_head
        splits = min(max(_PROGRAMS // (query.shape[0] * heads), 2), 12)
        return attend_audio(query, self._cache.audio[:, layer], readers, splits)

    def gather(self, slots: Tensor) -> Tensor:
        """Return the slots: every layer has keys and values of its own, which are gathered when it attends."""
        return slots

    def attend_gathered(self, query: Tensor, gathered: Tensor, layer: int) -> Tensor:
        return self.attend(query, gathered, layer)


class FusedAbsorbedAudio(AbsorbedAudio):
    """The encoder's output, which a kernel reads once for the scores and the weighted sums of all heads."""

    def __init__(self, weights: Weights, cache: KvCache) -> None:
        super().__init__(weights, cache)
        shape = Shape(state=weights.dims.n_audio_state, heads=weights.dims.n_text_head)
        is_served = _is_served(shape, weights.dtype, cache.audio.device)
        self._latent = LatentAttention(shape, weights.dtype, cache.audio.device) if is_served else None

    def store(self, features: Tensor, slots: Tensor) -> None:
        store_audio(features, self._cache.audio, slots)

    def gather(self, slots: Tensor) -> Tensor:
        """Return the encoder's output of the slots: [windows, frame, state]."""
        return self._cache.audio[slots]

    def attend_gathered(self, query: Tensor, gathered: Tensor, layer: int) -> Tensor:
        # For prompts too long to be read as decode steps: projecting keys and values on matrix units is faster than
        # attending to the encoder's output in plain operations.
        return attend_keys(query, *self.project(gathered, layer))

    def attend(self, query: Tensor, slots: Tensor, layer: int) -> Tensor:
        return self.attend_gathered(query, self.gather(slots), layer)

    def read(self, query: Tensor, readers: Readers, layer: int) -> Tensor:
        if self._latent is None:
            slots = readers.slots[: query.shape[0] // readers.per_row, readers.column].long()
            windows = query.view(len(slots), readers.per_row, -1)
            return super().attend(windows, slots, layer).view(query.shape)
        heads = self._heads[layer]
        absorbed = absorb(query.view(query.shape[0], -1, heads.width), heads)
        attended = self._latent(
            absorbed, self._cache.audio, readers.active, readers.slots, readers.slots.shape[1], readers.column,
            readers.per_row, 1.0,
        )  # fmt: skip
        return values_of(attended, heads)


def _is_served(shape: Shape, dtype: torch.dtype, device: torch.device) -> bool:
    """Return whether latent.cu supports the model and the GPU; otherwise this form uses plain operations."""
    properties = torch.cuda.get_device_properties(device)
    available = properties.shared_memory_per_multiprocessor - 1024  # bytes; CUDA reserves 1 KiB per thread block
    fits = shape.state % 128 == 0 and shape.shared <= available
    return dtype.itemsize == 2 and properties.major >= 9 and fits


FUSED_FORMS: dict[Form, type[FusedCachedAudio] | type[FusedAbsorbedAudio]] = {
    "cached": FusedCachedAudio,
    "absorbed": FusedAbsorbedAudio,
}


@triton.jit
def _attend_audio(
    query, cache, out, tops, totals, active, slots, slot_stride, frame_stride, part_stride, frames, span, scale,
    PER_ROW: tl.constexpr, COLUMNS: tl.constexpr, SLOT: tl.constexpr, HEADS: tl.constexpr,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """Attend with one query and head to one span of frames; one program per head, query and split.

    query [n, state], cache [slot, frame, 2, head, width]. With one split, out is [n, state]; otherwise it gets the
    unnormalised sums [n, head, split, width], and tops and totals [n, head, split] what `_merge` needs to join them.
    """
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
        weights = tl.exp(scores - new_top)
        total = total * shrink + tl.sum(weights, 0)
        result = result * shrink + tl.sum(values.to(tl.float32) * weights[:, None], 0)
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
    """Join the splits of one query and head; parts [n, head, split, width], out [n, head, width]."""
    at = tl.program_id(0)
    split, channel = tl.arange(0, PADDED), tl.arange(0, WIDTH)
    there = split < SPLITS
    top = tl.load(tops + at * SPLITS + split, mask=there, other=-1e30)
    weight = tl.where(there, tl.exp(top - tl.max(top, 0)), 0.0)
    total = tl.sum(weight * tl.load(totals + at * SPLITS + split, mask=there, other=0.0), 0)
    part = tl.load(parts + (at * SPLITS + split[:, None]) * WIDTH + channel[None, :], mask=there[:, None], other=0.0)
    tl.store(out + at * WIDTH + channel, (tl.sum(part * weight[:, None], 0) / total).to(out.dtype.element_ty))


@triton.jit
def _store_audio(source, cache, slots, slot_stride, frame_stride, frames, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Copy one frame of one window to its slot; source [window, frame, WIDTH]."""
    frame, window = tl.program_id(0), tl.program_id(1)
    slot = tl.load(slots + window)
    channel = tl.arange(0, BLOCK)
    inside = channel < WIDTH
    value = tl.load(source + (window.to(tl.int64) * frames + frame) * WIDTH + channel, mask=inside)
    tl.store(cache + slot * slot_stride + frame * frame_stride + channel, value, mask=inside)


def store_audio(projected: Tensor, cache: Tensor, slots: Tensor) -> None:
    """Copy values [windows, frames, n] into the slots of a cache [slot, frame, ...] with n values per frame."""
    windows, frames, width = projected.shape
    _store_audio[(frames, windows)](
        projected, cache, slots, cache.stride(0), cache.stride(1), frames, WIDTH=width,
        BLOCK=triton.next_power_of_2(width), num_warps=4,
    )  # fmt: skip


def attend_audio(
    query: Tensor, cache: Tensor, readers: Readers, splits: int, block: int = 32, warps: int = 2
) -> Tensor:
    """Attend with query [n, state] to keys and values [slot, frame, 2, head, width]: [n, state].

    Frames are split into `splits` spans, one per thread block, whose results a second kernel merges (Flash-Decoding,
    Dao et al., 2023). `block` frames are read at a time by `warps` warps.
    """
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
        query, cache, parts, tops, totals, readers.active, readers.slots, cache.stride(0), cache.stride(1),
        cache.stride(2), frames, span, width**-0.5, PER_ROW=readers.per_row, COLUMNS=readers.slots.shape[1],
        SLOT=readers.column, HEADS=heads, WIDTH=width, BLOCK=block, SPLITS=splits, num_warps=warps,
    )  # fmt: skip
    if splits > 1:
        padded = triton.next_power_of_2(splits)
        _merge[(n * heads,)](parts, tops, totals, out, SPLITS=splits, PADDED=padded, WIDTH=width, num_warps=1)
    return out
