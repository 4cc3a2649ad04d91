"""Random rows for the tests of the decoding rules: logits, tokens sampled before, and the engine's state of them."""

from __future__ import annotations

import torch
from torch import Tensor
from whisper.tokenizer import Tokenizer

from tests.support.small_models import small_dims
from whisper_fleet.workers.engine.sampling.row_state import NO_LIMIT, RowState
from whisper_fleet.workers.engine.sampling.rules import Vocabulary, push, vocabulary_of

CPU = torch.device("cpu")
ROWS = 16


def random_rows(tokenizer: Tokenizer, vocabulary: int, seed: int, sampled: int) -> tuple[Tensor, Tensor]:
    """Return logits [ROWS, vocabulary] and the tokens sampled before, [ROWS, sampled]."""
    generator = torch.Generator().manual_seed(seed)
    history = random_history(tokenizer, sampled, generator)
    logits = torch.randn(ROWS, vocabulary, generator=generator) * (1, 3, 8)[seed % 3]
    logits[:, tokenizer.timestamp_begin :] += (-3, 0, 1, 3)[seed % 4]
    return logits, history


def random_history(tokenizer: Tokenizer, length: int, generator: torch.Generator) -> Tensor:
    """Return tokens [ROWS, length]: text and timestamps that never decrease, in random order."""
    is_time = torch.rand(ROWS, length, generator=generator) < 0.5
    steps = torch.randint(0, 60, (ROWS, length), generator=generator) * torch.randint(0, 2, (ROWS, length))
    times = tokenizer.timestamp_begin + steps.cumsum(1)
    text = torch.randint(0, tokenizer.eot, (ROWS, length), generator=generator)
    return torch.where(is_time, times, text)


def suppressed(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return the tokens that the rows may never sample."""
    return tuple(sorted({*tokenizer.non_speech_tokens, tokenizer.sot, tokenizer.transcribe}))


def state_after(
    history: Tensor, tokenizer: Tokenizer, vocabulary: int, blank: bool, timed: bool, initial: int | None
) -> tuple[RowState, Tensor, Vocabulary]:
    """Return the engine's state of rows that have sampled `history`, the rows' numbers, and the vocabulary.

    `blank` and `timed` switch the rules for blanks and timestamps; `initial` limits the first timestamp.
    """
    masked = suppressed(tokenizer)
    if timed and tokenizer.no_timestamps is not None:
        masked = (*masked, tokenizer.no_timestamps)
    state = RowState(small_dims(vocabulary=vocabulary), CPU, max_rows=ROWS)
    mask = state.mask_number(masked, set)
    first = NO_LIMIT if initial is None else tokenizer.timestamp_begin + initial
    row = [0, 2, 0, 0, 1, -1, 224, 0, mask or 0, int(blank), int(timed), first, 0, 0]
    rows = state.admit(list(range(ROWS)), [row] * ROWS, [[0.0, 0.0, 0.0]] * ROWS, list(range(ROWS)))
    tokens = vocabulary_of(tokenizer, vocabulary, CPU)
    for column in history.T:
        push(column, torch.zeros(ROWS), state, rows, tokens)
    return state, rows, tokens
