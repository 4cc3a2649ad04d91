"""The choice of the next token in one Triton kernel, which reads the logits of each row once.

It computes what `apply_rules`, `sample` and `push` of sampling/rules.py compute, except for the random numbers of a
draw: here the Gumbel-max trick draws from softmax(logits / temperature).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from whisper_fleet.workers.engine.sampling.row_state import FloatColumn, IntColumn, RowState
from whisper_fleet.workers.engine.sampling.rules import Vocabulary

_BLOCK = tl.constexpr(2048)
#: The columns of the row state, as the constants that a Triton kernel can read.
(
    _TOKEN, _POSITION, _COUNT, _LAST, _BEFORE, _LATEST, _MOST, _SLOT, _MASK, _BLANK, _TIMED, _INITIAL, _SEED, _BEAM
) = (tl.constexpr(int(column)) for column in IntColumn)  # fmt: skip
_SUM, _TEMPERATURE, _NO_SPEECH = (tl.constexpr(int(column)) for column in FloatColumn)
_INTS, _FLOATS = tl.constexpr(len(IntColumn)), tl.constexpr(len(FloatColumn))


@triton.jit
def _select(
    logits, rows, active, ints, floats, sampled, masks, vocabulary, stride, context, end_of_text, begin, blank,
    DRAW: tl.constexpr,
):  # fmt: skip
    """Choose and append the next token of one row; one program per row of `logits`, rows [n] are their numbers."""
    source = tl.program_id(0)
    row = tl.load(rows + source)
    columns, scores = ints + row * _INTS, logits + source.to(tl.int64) * stride
    if (tl.load(active + row) == 0) | (tl.load(columns + _BEAM) != 0):
        return
    mask = masks + tl.load(columns + _MASK).to(tl.int64) * vocabulary
    count, last, before = tl.load(columns + _COUNT), tl.load(columns + _LAST) != 0, tl.load(columns + _BEFORE) != 0
    timed, latest, initial = tl.load(columns + _TIMED) != 0, tl.load(columns + _LATEST), tl.load(columns + _INITIAL)
    blanked, seed = (count == 0) & (tl.load(columns + _BLANK) != 0), tl.load(columns + _SEED)
    temperature = tl.load(floats + row * _FLOATS + _TEMPERATURE)
    low = float("-inf")
    # Per lane, for text and for timestamps: the highest logit, the sum of exponentials, the best choice and its token.
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
            forbidden = forbidden | _is_forbidden(token, is_time, end_of_text, count, last, before, latest, initial)
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
    # If all timestamps together are more likely than any single text token, a timestamp is forced.
    forced = timed & (time_most > low) & (time_all > text_most)
    chosen = tl.where(forced | (time_best > text_best), time_at, text_at)
    top, text_total = tl.maximum(text_most, time_most), tl.sum(text_sum * _exp(text_top - text_most), 0)
    both = top + tl.log(text_total * _exp(text_most - top) + _exp(time_all - top))
    total = floats + row * _FLOATS + _SUM
    tl.store(total, tl.load(total) + tl.load(scores + chosen).to(tl.float32) - tl.where(forced, time_all, both))
    tl.store(sampled + row * context + count, chosen)
    _store_state(columns, chosen, count, last, latest, begin)
    tl.store(active + row, tl.where((chosen == end_of_text) | (count + 1 >= tl.load(columns + _MOST)), 0, 1))


@triton.jit
def _store_state(columns, chosen, count, last, latest, begin):
    """Store what the next step of the row needs."""
    tl.store(columns + _TOKEN, chosen)
    tl.store(columns + _POSITION, tl.load(columns + _POSITION) + 1)
    tl.store(columns + _COUNT, count + 1)
    tl.store(columns + _BEFORE, tl.where(count == 0, 1, last.to(tl.int32)))
    tl.store(columns + _LAST, (chosen >= begin).to(tl.int32))
    tl.store(columns + _LATEST, tl.where(chosen >= begin, chosen, latest))


@triton.jit
def _is_forbidden(token, is_time, end_of_text, count, last, before, latest, initial):
    """Return which tokens the timestamp rules forbid: see `_forbidden_times` and `apply_rules` in sampling/rules.py."""
    lowest = tl.where(last & (before == 0), latest, latest + 1)
    wrong = (is_time & last & before) | ((token < end_of_text) & last & (before == 0))
    wrong = wrong | (is_time & (latest >= 0) & (token < lowest))
    return wrong | ((count == 0) & ((is_time == 0) | (token > initial)))


@triton.jit
def _add(top, total, value):
    """Add a value to a sum of exponentials, which is kept relative to the highest value."""
    new = tl.maximum(top, value)
    return new, total * _exp(top - new) + _exp(value - new)


@triton.jit
def _better(value, index, other_value, other_index):
    """Return the higher of two values and its index; for equal values, the lower index."""
    wins = (value > other_value) | ((value == other_value) & (index < other_index))
    return tl.where(wins, value, other_value), tl.where(wins, index, other_index)


@triton.jit
def _exp(difference):
    """Return exp(difference), or 0 if the difference is that of two infinities."""
    return tl.where(difference != difference, 0.0, tl.exp(difference))


def select(logits: Tensor, state: RowState, rows: Tensor, vocabulary: Vocabulary, *, draw: bool) -> None:
    """Choose the next token of each row from logits [rows, vocabulary], and append it to the row.

    `rows` are the numbers of the rows, [rows]. Rows of a beam search are skipped.
    """
    _select[(rows.shape[0],)](
        logits, rows, state.active, state.ints, state.floats, state.sampled, state.masks.view(torch.uint8),
        vocabulary.size, logits.stride(0), state.sampled.shape[1], vocabulary.end_of_text, vocabulary.timestamp_begin,
        vocabulary.blanks[0], DRAW=draw, num_warps=8,
    )  # fmt: skip
