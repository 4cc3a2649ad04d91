"""The vectorised rules forbid what whisper's own filters forbid, row by row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from whisper.decoding import ApplyTimestampRules, SuppressBlank, SuppressTokens
from whisper.model import ModelDimensions
from whisper.tokenizer import Tokenizer

from whisper_fleet.workers.engine.batch.decode_plan import model_tokenizer
from whisper_fleet.workers.engine.sampling.row_state import NEVER, IntColumn, RowState
from whisper_fleet.workers.engine.sampling.rules import Vocabulary, apply_rules, push, vocabulary_of

CPU = torch.device("cpu")
ROWS = 16


def dims(vocabulary: int) -> ModelDimensions:
    return ModelDimensions(80, 1500, 64, 1, 1, vocabulary, 448, 64, 1, 1)


def check(vocabulary: int, seed: int, sampled: int, blank: bool, timed: bool, initial: int | None) -> None:
    """ROWS random rows with random histories of `sampled` tokens."""
    tokenizer = model_tokenizer(dims(vocabulary), "en" if vocabulary > 51864 else None, "transcribe")
    logits, history = random_rows(tokenizer, vocabulary, seed, sampled)
    expected = whispers_own(tokenizer, logits, history, suppressed(tokenizer), blank, timed, initial)
    state, rows, words = state_after(history, tokenizer, vocabulary, blank, timed, initial)
    assert state.ints[:ROWS, IntColumn.COUNT].tolist() == [sampled] * ROWS
    assert torch.equal(apply_rules(logits, state, rows, words), expected)


def random_rows(tokenizer: Tokenizer, vocabulary: int, seed: int, sampled: int) -> tuple[Tensor, Tensor]:
    """Logits of ROWS rows, and what they have sampled so far."""
    chance = torch.Generator().manual_seed(seed)
    history = random_history(tokenizer, sampled, chance)
    logits = torch.randn(ROWS, vocabulary, generator=chance) * (1, 3, 8)[seed % 3]
    logits[:, tokenizer.timestamp_begin :] += (-3, 0, 1, 3)[seed % 4]
    return logits, history


def suppressed(tokenizer: Tokenizer) -> tuple[int, ...]:
    return tuple(sorted({*tokenizer.non_speech_tokens, tokenizer.sot, tokenizer.transcribe}))


def state_after(
    history: Tensor, tokenizer: Tokenizer, vocabulary: int, blank: bool, timed: bool, initial: int | None
) -> tuple[RowState, Tensor, Vocabulary]:
    """The engine's state of rows that have sampled `history`."""
    never = suppressed(tokenizer)
    if timed and tokenizer.no_timestamps is not None:
        never = (*never, tokenizer.no_timestamps)
    state = RowState(dims(vocabulary), CPU)
    mask = state.mask_number(never, set())
    first = NEVER if initial is None else tokenizer.timestamp_begin + initial
    row = [0, 2, 0, 0, 1, -1, 224, 0, mask or 0, int(blank), int(timed), first, 0, 0]
    rows = state.admit(list(range(ROWS)), [row] * ROWS, [[0.0, 0.0, 0.0]] * ROWS, list(range(ROWS)))
    words = vocabulary_of(tokenizer, vocabulary, CPU)
    for column in history.T:
        push(column, torch.zeros(ROWS), state, rows, words)
    return state, rows, words


def random_history(tokenizer: Tokenizer, length: int, chance: torch.Generator) -> Tensor:
    """Tokens [ROWS, length]: text and never decreasing timestamps, in any order."""
    is_time = torch.rand(ROWS, length, generator=chance) < 0.5
    steps = torch.randint(0, 60, (ROWS, length), generator=chance) * torch.randint(0, 2, (ROWS, length))
    times = tokenizer.timestamp_begin + steps.cumsum(1)
    text = torch.randint(0, tokenizer.eot, (ROWS, length), generator=chance)
    return torch.where(is_time, times, text)


def whispers_own(
    tokenizer: Tokenizer,
    logits: Tensor,
    history: Tensor,
    suppressed: tuple[int, ...],
    blank: bool,
    timed: bool,
    initial: int | None,
) -> Tensor:
    tokens = torch.cat([torch.full((ROWS, 3), tokenizer.sot), history], 1)
    masked = logits.clone()
    if blank:
        SuppressBlank(tokenizer, 3).apply(masked, tokens)
    SuppressTokens(suppressed).apply(masked, tokens)
    if timed:
        ApplyTimestampRules(tokenizer, 3, initial).apply(masked, tokens)
    return masked


cases = {
    "vocabulary": st.sampled_from([51864, 51865, 51866]),
    "seed": st.integers(0, 2**31),
    "sampled": st.integers(0, 7),
    "blank": st.booleans(),
    "timed": st.booleans(),
    "initial": st.sampled_from([None, 0, 50]),
}


@settings(max_examples=20, deadline=None, derandomize=True)
@given(**cases)
def test_rules_equal_whispers_filters(**case: Any) -> None:
    check(**case)


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(max_examples=700, deadline=None)  # 11,200 rows
@given(**cases)
def test_rules_equal_whispers_filters_on_ten_thousand_rows(**case: Any) -> None:
    check(**case)
