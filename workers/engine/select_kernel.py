"""The Triton form of rules.apply_rules, rules.sample and rules.push: one pass over each row's logits."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from workers.engine.rules import Vocabulary
from workers.engine.state import Real, RowState, Whole

_BLOCK = 2048


@triton.jit
def _better(value, index, other_value, other_index):
    wins = (value > other_value) | ((value == other_value) & (index < other_index))
    return tl.where(wins, value, other_value), tl.where(wins, index, other_index)


@triton.jit
def _select(
    logits, rows, active, whole, real, sampled, masks, vocabulary, stride, context, end_of_text, begin, blank,
    COLUMNS: tl.constexpr, REALS: tl.constexpr, DRAW: tl.constexpr, BLOCK: tl.constexpr,
    TOKEN: tl.constexpr, POSITION: tl.constexpr, COUNT: tl.constexpr, LAST: tl.constexpr, BEFORE: tl.constexpr,
    LATEST: tl.constexpr, MOST: tl.constexpr, MASK: tl.constexpr, BLANK: tl.constexpr, TIMED: tl.constexpr,
    INITIAL: tl.constexpr, SEED: tl.constexpr, BEAM: tl.constexpr, SUM: tl.constexpr, TEMPERATURE: tl.constexpr,
):  # fmt: skip
    source = tl.program_id(0)
    row = tl.load(rows + source)
    mine = whole + row * COLUMNS
    if tl.load(active + row) == 0:
        return
    if tl.load(mine + BEAM) != 0:
        return
    count, most = tl.load(mine + COUNT), tl.load(mine + MOST)
    last, before, latest = tl.load(mine + LAST) != 0, tl.load(mine + BEFORE) != 0, tl.load(mine + LATEST)
    timed = tl.load(mine + TIMED) != 0
    first = count == 0
    blanked = first & (tl.load(mine + BLANK) != 0)
    initial = tl.load(mine + INITIAL)
    seed = tl.load(mine + SEED)
    temperature = tl.load(real + row * REALS + TEMPERATURE)
    drawn = temperature > 0.0
    lowest = tl.where(last & (before == 0), latest, latest + 1)
    closed = timed & last & before
    after_one = timed & last & (before == 0)
    low = float("-inf")
    # Four running maxima (likelihood and draw, of text and of timestamps) and two running sums of exponentials.
    zeros = tl.zeros([BLOCK], tl.float32)
    text_top, time_top = zeros + low, zeros + low
    text_sum, time_sum = zeros, zeros
    text_best, time_best = zeros + low, zeros + low
    text_at, time_at = tl.zeros([BLOCK], tl.int32), tl.zeros([BLOCK], tl.int32)
    offsets = tl.arange(0, BLOCK)
    for start in range(0, vocabulary, BLOCK):
        token = start + offsets
        inside = token < vocabulary
        value = tl.load(logits + source.to(tl.int64) * stride + token, mask=inside, other=low).to(tl.float32)
        masked = tl.load(masks + tl.load(mine + MASK).to(tl.int64) * vocabulary + token, mask=inside, other=1) != 0
        is_time = token >= begin
        masked = masked | (blanked & ((token == blank) | (token == end_of_text)))
        masked = masked | (is_time & closed) | ((token < end_of_text) & after_one)
        masked = masked | (is_time & timed & (latest >= 0) & (token < lowest))
        masked = masked | (timed & first & ((is_time == 0) | (token > initial)))
        value = tl.where(masked | (inside == 0), low, value)
        key = value
        if DRAW:
            noise = tl.rand(seed, count * 65536 + token)
            gumbel = -tl.log(-tl.log(tl.maximum(noise, 1e-20)) + 1e-30)
            key = tl.where(drawn, value / tl.maximum(temperature, 1e-6) + gumbel, value)
        as_text, as_time = tl.where(is_time, low, value), tl.where(is_time, value, low)
        new_text, new_time = tl.maximum(text_top, as_text), tl.maximum(time_top, as_time)
        text_sum = text_sum * _exp(text_top - new_text) + _exp(as_text - new_text)
        time_sum = time_sum * _exp(time_top - new_time) + _exp(as_time - new_time)
        text_top, time_top = new_text, new_time
        better = (is_time == 0) & (key > text_best)
        text_best, text_at = tl.where(better, key, text_best), tl.where(better, token, text_at)
        better = is_time & (key > time_best)
        time_best, time_at = tl.where(better, key, time_best), tl.where(better, token, time_at)
    text_max, time_max = tl.max(text_top, 0), tl.max(time_top, 0)
    text_total = tl.sum(text_sum * _exp(text_top - text_max), 0)
    time_total = tl.sum(time_sum * _exp(time_top - time_max), 0)
    text_best, text_at = tl.reduce((text_best, text_at), 0, _better)
    time_best, time_at = tl.reduce((time_best, time_at), 0, _better)
    # if all timestamps together are likelier than any one text token, it is a timestamp
    forced = timed & (time_max > low) & (time_max + tl.log(time_total) > text_max)
    as_time = forced | (time_best > text_best)
    chosen = tl.where(as_time, time_at, text_at)
    top = tl.maximum(text_max, time_max)
    everything = top + tl.log(text_total * _exp(text_max - top) + time_total * _exp(time_max - top))
    norm = tl.where(forced, time_max + tl.log(time_total), everything)
    value = tl.load(logits + source.to(tl.int64) * stride + chosen).to(tl.float32)
    tl.store(sampled + row * context + count, chosen)
    tl.store(mine + BEFORE, tl.where(first, 1, last.to(tl.int32)))
    tl.store(mine + LAST, (chosen >= begin).to(tl.int32))
    tl.store(mine + LATEST, tl.where(chosen >= begin, chosen, latest))
    tl.store(mine + TOKEN, chosen)
    tl.store(mine + COUNT, count + 1)
    tl.store(mine + POSITION, tl.load(mine + POSITION) + 1)
    total = real + row * REALS + SUM
    tl.store(total, tl.load(total) + value - norm)
    ended = (chosen == end_of_text) | (count + 1 >= most)
    tl.store(active + row, tl.where(ended, 0, 1))


@triton.jit
def _exp(difference):
    """exp, with exp(-inf - -inf) taken for 0."""
    return tl.where(difference != difference, 0.0, tl.exp(difference))


def select(logits: Tensor, state: RowState, rows: Tensor, vocabulary: Vocabulary, *, draw: bool) -> None:
    """Choose and note the next token of each of `rows` from its logits; rows of a beam search are left alone."""
    _select[(rows.shape[0],)](
        logits, rows, state.active, state.whole, state.real, state.sampled, state.masks.view(torch.uint8),
        vocabulary.size, logits.stride(0), state.sampled.shape[1], vocabulary.end_of_text, vocabulary.timestamp_begin,
        vocabulary.blanks[0], COLUMNS=len(Whole), REALS=len(Real), DRAW=draw, BLOCK=_BLOCK,
        TOKEN=int(Whole.TOKEN), POSITION=int(Whole.POSITION), COUNT=int(Whole.COUNT),
        LAST=int(Whole.LAST_IS_TIMESTAMP), BEFORE=int(Whole.BEFORE_IS_TIMESTAMP),
        LATEST=int(Whole.LAST_TIMESTAMP), MOST=int(Whole.MOST), MASK=int(Whole.MASK), BLANK=int(Whole.BLANK_RULE),
        TIMED=int(Whole.TIMESTAMP_RULES), INITIAL=int(Whole.MOST_INITIAL), SEED=int(Whole.SEED),
        BEAM=int(Whole.BEAM), SUM=int(Real.SUM_LOGPROB), TEMPERATURE=int(Real.TEMPERATURE), num_warps=8,
    )  # fmt: skip
