"""The vectorised rules forbid what whisper's own filters forbid, row by row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from whisper.decoding import ApplyTimestampRules, SuppressBlank, SuppressTokens
from whisper.tokenizer import Tokenizer

from tests.support.rule_rows import ROWS, random_rows, state_after, suppressed
from tests.support.small_models import small_dims
from whisper_fleet.workers.engine.requests import model_tokenizer
from whisper_fleet.workers.engine.sampling.row_state import IntColumn
from whisper_fleet.workers.engine.sampling.rules import apply_rules


def check(vocabulary: int, seed: int, sampled: int, blank: bool, timed: bool, initial: int | None) -> None:
    """Compare the rules with whisper's filters on random rows that have sampled `sampled` tokens."""
    tokenizer = model_tokenizer(small_dims(vocabulary=vocabulary), "en" if vocabulary > 51864 else None, "transcribe")
    logits, history = random_rows(tokenizer, vocabulary, seed, sampled)
    expected = whispers_own(tokenizer, logits, history, suppressed(tokenizer), blank, timed, initial)
    state, rows, tokens = state_after(history, tokenizer, vocabulary, blank, timed, initial)
    assert state.ints[:ROWS, IntColumn.COUNT].tolist() == [sampled] * ROWS
    assert torch.equal(apply_rules(logits, state, rows, tokens), expected)


def whispers_own(
    tokenizer: Tokenizer,
    logits: Tensor,
    history: Tensor,
    suppressed: tuple[int, ...],
    blank: bool,
    timed: bool,
    initial: int | None,
) -> Tensor:
    """Return the logits after whisper's filters, row by row."""
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
