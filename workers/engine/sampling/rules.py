"""Whisper's logit filters and the choice of the next token, vectorised over rows that each have their own rules.

`apply_rules` computes what SuppressBlank, SuppressTokens and ApplyTimestampRules (whisper/decoding.py) compute, without
a loop over rows. Nothing here waits for the device, so all of it can be captured in a CUDA graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from whisper.tokenizer import Tokenizer

from whisper_fleet.workers.engine.sampling.row_state import FloatColumn, IntColumn, RowState

_FORBIDDEN = float("-inf")


@dataclass(frozen=True)
class Vocabulary:
    """The size of a model's vocabulary, and its special tokens."""

    size: int
    end_of_text: int
    timestamp_begin: int
    no_speech: int | None
    blanks: tuple[int, ...]  # tokens that SuppressBlank forbids as the first
    numbers: Tensor  # [size]: all token ids, int32, on the device


def vocabulary_of(tokenizer: Tokenizer, size: int, device: torch.device) -> Vocabulary:
    """Return the vocabulary of a model whose embedding has `size` rows."""
    return Vocabulary(
        size=size,
        end_of_text=tokenizer.eot,
        timestamp_begin=tokenizer.timestamp_begin,
        no_speech=tokenizer.no_speech,
        blanks=(*tokenizer.encode(" "), tokenizer.eot),
        numbers=torch.arange(size, device=device, dtype=torch.int32),
    )


def apply_rules(logits: Tensor, state: RowState, rows: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Return the logits in float32, with -inf for every token that whisper's filters forbid.

    Logits and result are [rows, vocabulary]; `rows` are the numbers of the rows, [rows].
    """
    ints = state.ints[rows]
    columns = {column: ints[:, column, None] for column in IntColumn}
    timed = columns[IntColumn.TIMESTAMP_RULES] > 0
    first = columns[IntColumn.COUNT] == 0
    blank = first & (columns[IntColumn.BLANK_RULE] > 0)
    masked = logits.float().masked_fill(state.masks[ints[:, IntColumn.MASK].long()], _FORBIDDEN)
    for token in vocabulary.blanks:
        masked[:, token].masked_fill_(blank[:, 0], _FORBIDDEN)
    begin = vocabulary.timestamp_begin
    text, times = masked[:, :begin], masked[:, begin:]
    times.masked_fill_(_forbidden_times(columns, vocabulary) & timed, _FORBIDDEN)
    after_one = (columns[IntColumn.LAST_IS_TIMESTAMP] > 0) & (columns[IntColumn.BEFORE_IS_TIMESTAMP] == 0)
    text[:, : vocabulary.end_of_text].masked_fill_(after_one & timed, _FORBIDDEN)
    text.masked_fill_(first & timed, _FORBIDDEN)
    logprobs = masked.log_softmax(-1)
    forced = logprobs[:, begin:].logsumexp(-1) > logprobs[:, :begin].amax(-1)
    text.masked_fill_(forced[:, None] & timed, _FORBIDDEN)
    return masked


def _forbidden_times(columns: dict[IntColumn, Tensor], vocabulary: Vocabulary) -> Tensor:
    """Return which timestamps are forbidden, [rows, timestamps], for rows with timestamp rules.

    Timestamps come in pairs and never decrease, and the first may not be later than the row's limit. Source:
    ApplyTimestampRules.apply in whisper/decoding.py.
    """
    times = vocabulary.numbers[vocabulary.timestamp_begin :]
    last, before = columns[IntColumn.LAST_IS_TIMESTAMP] > 0, columns[IntColumn.BEFORE_IS_TIMESTAMP] > 0
    latest = columns[IntColumn.LAST_TIMESTAMP]
    lowest = torch.where(last & ~before, latest, latest + 1)
    too_early = (latest >= 0) & (times < lowest)
    too_late = (columns[IntColumn.COUNT] == 0) & (times > columns[IntColumn.MAX_INITIAL])
    return (last & before) | too_early | too_late


def sample(masked: Tensor, state: RowState, rows: Tensor, *, draw: bool) -> tuple[Tensor, Tensor]:
    """Return the next token of each row, [rows], and its log-probability, [rows].

    It is the most likely token; with `draw`, rows with a temperature above 0 draw it at that temperature.
    """
    tokens = masked.argmax(-1)
    if draw:
        temperature = state.floats[rows, FloatColumn.TEMPERATURE]
        drawn = _draw(masked, temperature.clamp(min=1e-6), state, rows)
        tokens = torch.where(temperature > 0, drawn, tokens)
    return tokens, masked.log_softmax(-1).gather(1, tokens[:, None])[:, 0]


def _draw(masked: Tensor, temperature: Tensor, state: RowState, rows: Tensor) -> Tensor:
    """Draw tokens [rows] from softmax(masked / temperature): invert its cumulative sum at the row's random number."""
    cumulative = (masked / temperature[:, None]).softmax(-1).double().cumsum(-1)
    numbers = _uniform(state.ints[rows, IntColumn.SEED], state.ints[rows, IntColumn.COUNT]).to(cumulative.device)
    target = numbers[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True)[:, 0].clamp(max=masked.shape[1] - 1)


def _uniform(seed: Tensor, count: Tensor) -> Tensor:
    """Return the `count`-th random number of each seed's stream, in [0, 1).

    The generator is splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014), in
    wrapping 64-bit arithmetic. So a row draws the same numbers whatever other rows are in the batch.
    """
    state = (seed.long() << 20) + count.long() + 1
    state = state * -7046029254386353131
    state = (state ^ ((state >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    state = (state ^ ((state >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    state = state ^ ((state >> 31) & 0x1FFFFFFFF)
    return ((state >> 11) & ((1 << 53) - 1)).double() / (1 << 53)


def push(tokens: Tensor, logprobs: Tensor, state: RowState, rows: Tensor, vocabulary: Vocabulary) -> None:
    """Append the sampled tokens [rows] to the rows; a row that sampled the end of text, or its last token, ends."""
    ints = state.ints[rows]
    running = state.active[rows] > 0
    count = ints[:, IntColumn.COUNT]
    state.sampled[rows, count.long().clamp(max=state.sampled.shape[1] - 1)] = tokens.int()
    is_time = tokens >= vocabulary.timestamp_begin
    new = ints.clone()
    new[:, IntColumn.BEFORE_IS_TIMESTAMP] = torch.where(count == 0, 1, ints[:, IntColumn.LAST_IS_TIMESTAMP])
    new[:, IntColumn.LAST_IS_TIMESTAMP] = is_time.int()
    new[:, IntColumn.LAST_TIMESTAMP] = torch.where(is_time, tokens.int(), ints[:, IntColumn.LAST_TIMESTAMP])
    new[:, IntColumn.TOKEN] = tokens.int()
    new[:, IntColumn.COUNT] += 1
    new[:, IntColumn.POSITION] += 1
    state.ints[rows] = torch.where(running[:, None], new, ints)
    state.floats[rows, FloatColumn.SUM_LOGPROB] += torch.where(running, logprobs, 0.0)
    ended = (tokens == vocabulary.end_of_text) | (count + 1 >= ints[:, IntColumn.MAX_SAMPLED])
    state.active[rows] = (running & ~ended).int()
