"""The Triton form of rules.apply_rules, rules.sample and rules.push: one pass over each row's logits."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from whisper_fleet.workers.engine.sampling.row_state import FloatColumn, IntColumn, RowState
from whisper_fleet.workers.engine.sampling.rules import Vocabulary

_BLOCK = tl.constexpr(2048)
#: The columns of a row's state, which kernels can only know as constants.
(
    _TOKEN, _POSITION, _COUNT, _LAST, _BEFORE, _LATEST, _MOST, _SLOT, _MASK, _BLANK, _TIMED, _INITIAL, _SEED, _BEAM
) = (tl.constexpr(int(column)) for column in IntColumn)  # fmt: skip
_SUM, _TEMPERATURE, _NO_SPEECH = (tl.constexpr(int(column)) for column in FloatColumn)
_COLUMNS, _REALS = tl.constexpr(len(IntColumn)), tl.constexpr(len(FloatColumn))


@triton.jit
def _select(
    logits, rows, active, ints, floats, sampled, masks, vocabulary, stride, context, end_of_text, begin, blank,
    DRAW: tl.constexpr,
):  # fmt: skip
    source = tl.program_id(0)
    row = tl.load(rows + source)
    mine, scores = ints + row * _COLUMNS, logits + source.to(tl.int64) * stride
    if (tl.load(active + row) == 0) | (tl.load(mine + _BEAM) != 0):
        return
    mask = masks + tl.load(mine + _MASK).to(tl.int64) * vocabulary
    count, last, before = tl.load(mine + _COUNT), tl.load(mine + _LAST) != 0, tl.load(mine + _BEFORE) != 0
    timed, latest, initial = tl.load(mine + _TIMED) != 0, tl.load(mine + _LATEST), tl.load(mine + _INITIAL)
    blanked, seed = (count == 0) & (tl.load(mine + _BLANK) != 0), tl.load(mine + _SEED)
    temperature = tl.load(floats + row * _REALS + _TEMPERATURE)
    low = float("-inf")
    # Of text and of timestamps, in each lane: the likeliest and the sum of exponentials, the best to choose and where.
    text_top, text_sum = tl.zeros([_BLOCK], tl.float32) + low, tl.zeros([_BLOCK], tl.float32)
    time_top, time_sum, text_best, time_best = text_top, text_sum, text_top, text_top
    text_at, time_at = tl.zeros([_BLOCK], tl.int32), tl.zeros([_BLOCK], tl.int32)
    for start in range(0, vocabulary, _BLOCK):
        token = start + tl.arange(0, _BLOCK)
        inside, is_time = token < vocabulary, token >= begin
        value = tl.load(scores + token, mask=inside, other=low).to(tl.float32)
        forbidden = tl.load(mask + token, mask=inside, other=1) != 0
        forbidden = forbidden | (blanked & ((token == blank) | (token == end_of_text)))
        if timed:
            forbidden = forbidden | _out_of_time(token, is_time, end_of_text, count, last, before, latest, initial)
        value = tl.where(forbidden, low, value)
        key = value
        if DRAW:
            noise = -tl.log(-tl.log(tl.maximum(tl.rand(seed, count * 65536 + token), 1e-20)) + 1e-30)
            key = tl.where(temperature > 0, value / tl.maximum(temperature, 1e-6) + noise, value)
        text_top, text_sum = _add(text_top, text_sum, tl.where(is_time, low, value))
        time_top, time_sum = _add(time_top, time_sum, tl.where(is_time, value, low))
        text_best, text_at = _better(text_best, text_at, tl.where(is_time, low, key), token)
        time_best, time_at = _better(time_best, time_at, tl.where(is_time, key, low), token)
    text_most, time_most = tl.max(text_top, 0), tl.max(time_top, 0)
    time_all = time_most + tl.log(tl.sum(time_sum * _exp(time_top - time_most), 0))
    text_best, text_at = tl.reduce((text_best, text_at), 0, _better)
    time_best, time_at = tl.reduce((time_best, time_at), 0, _better)
    # if all timestamps together are likelier than any one text token, it is a timestamp
    forced = timed & (time_most > low) & (time_all > text_most)
    chosen = tl.where(forced | (time_best > text_best), time_at, text_at)
    top, text_total = tl.maximum(text_most, time_most), tl.sum(text_sum * _exp(text_top - text_most), 0)
    both = top + tl.log(text_total * _exp(text_most - top) + _exp(time_all - top))
    total = floats + row * _REALS + _SUM
    tl.store(total, tl.load(total) + tl.load(scores + chosen).to(tl.float32) - tl.where(forced, time_all, both))
    tl.store(sampled + row * context + count, chosen)
    _note(mine, chosen, count, last, latest, begin)
    tl.store(active + row, tl.where((chosen == end_of_text) | (count + 1 >= tl.load(mine + _MOST)), 0, 1))


@triton.jit
def _note(mine, chosen, count, last, latest, begin):
    """What the row's next step has to know of its last one."""
    tl.store(mine + _TOKEN, chosen)
    tl.store(mine + _POSITION, tl.load(mine + _POSITION) + 1)
    tl.store(mine + _COUNT, count + 1)
    tl.store(mine + _BEFORE, tl.where(count == 0, 1, last.to(tl.int32)))
    tl.store(mine + _LAST, (chosen >= begin).to(tl.int32))
    tl.store(mine + _LATEST, tl.where(chosen >= begin, chosen, latest))


@triton.jit
def _out_of_time(token, is_time, end_of_text, count, last, before, latest, initial):
    """Timestamps come in pairs, never decrease, and the first token is one that is not too late."""
    lowest = tl.where(last & (before == 0), latest, latest + 1)
    wrong = (is_time & last & before) | ((token < end_of_text) & last & (before == 0))
    wrong = wrong | (is_time & (latest >= 0) & (token < lowest))
    return wrong | ((count == 0) & ((is_time == 0) | (token > initial)))


@triton.jit
def _add(top, total, value):
    """One more value for a sum of exponentials, which is kept relative to the highest."""
    new = tl.maximum(top, value)
    return new, total * _exp(top - new) + _exp(value - new)


@triton.jit
def _better(value, index, other_value, other_index):
    """The higher of two values with its index, the lower index where they are equal."""
    wins = (value > other_value) | ((value == other_value) & (index < other_index))
    return tl.where(wins, value, other_value), tl.where(wins, index, other_index)


@triton.jit
def _exp(difference):
    """exp, with exp(-inf - -inf) taken for 0."""
    return tl.where(difference != difference, 0.0, tl.exp(difference))


def select(logits: Tensor, state: RowState, rows: Tensor, vocabulary: Vocabulary, *, draw: bool) -> None:
    """Choose and note the next token of each of `rows` from its logits; rows of a beam search are left alone."""
    _select[(rows.shape[0],)](
        logits, rows, state.active, state.ints, state.floats, state.sampled, state.masks.view(torch.uint8),
        vocabulary.size, logits.stride(0), state.sampled.shape[1], vocabulary.end_of_text, vocabulary.timestamp_begin,
        vocabulary.blanks[0], DRAW=draw, num_warps=8,
    )  # fmt: skip
