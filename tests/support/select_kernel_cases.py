"""The select kernel and the plain rules on the same rows; test_select.py runs this under Triton's interpreter."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from tests.support.rule_rows import ROWS, random_rows, state_after
from whisper_fleet.workers.engine.cuda import select
from whisper_fleet.workers.engine.sampling import rules
from whisper_fleet.workers.engine.sampling.row_state import IntColumn

#: The time of Triton's interpreter grows with the lanes of a block and the blocks of a row, so both are small here.
#: Timestamps begin, and the vocabulary ends, inside a block, at its border or next to it.
_BLOCK, _SPECIAL, _TIMES = 256, 106, 501
_TEXTS = (800, 4 * _BLOCK - _SPECIAL, 4 * _BLOCK - _SPECIAL + 1, 6 * _BLOCK - _SPECIAL - _TIMES)
_SAMPLED, _RULES = (0, 1, 2, 7), ((True, True), (False, True), (True, False))
_LATEST_FIRST = 50  # timestamp


def main() -> None:
    select._BLOCK = tl.constexpr(_BLOCK)
    cases = itertools.product(_SAMPLED, _RULES)
    for seed, (sampled, (blank, timed)) in enumerate(cases):
        tokenizer = small_tokenizer(_TEXTS[seed % len(_TEXTS)])
        vocabulary = tokenizer.timestamp_begin + _TIMES
        logits, history = random_rows(tokenizer, vocabulary, seed, sampled)
        plain, rows, vocabulary_tokens = state_after(history, tokenizer, vocabulary, blank, timed, _LATEST_FIRST)
        kernel, _, _ = state_after(history, tokenizer, vocabulary, blank, timed, _LATEST_FIRST)
        tempt(logits, tokenizer, plain.ints[:ROWS, IntColumn.LAST_TIMESTAMP], seed)
        spread = logits[seed + 2]  # no timestamp is likely, but all of them together are
        spread[tokenizer.timestamp_begin :] = spread[: tokenizer.timestamp_begin].max() - 3
        chosen = rows[[seed, seed + 2, seed + 4]]
        masked = rules.apply_rules(logits[chosen], plain, chosen, vocabulary_tokens)
        tokens, logprobs = rules.sample(masked, plain, chosen, draw=False)
        rules.push(tokens, logprobs, plain, chosen, vocabulary_tokens)
        select.select(logits[chosen], kernel, chosen, vocabulary_tokens, draw=False)
        for part in ("ints", "sampled", "active"):
            assert torch.equal(getattr(kernel, part), getattr(plain, part)), (seed, part)
        torch.testing.assert_close(kernel.floats, plain.floats, rtol=1e-5, atol=1e-4)


def small_tokenizer(texts: int) -> Any:
    """Return the part of whisper's tokenizer that the rules use, with this many text tokens."""
    return SimpleNamespace(
        eot=texts,
        sot=texts + 1,
        transcribe=texts + 101,
        no_speech=texts + 104,
        no_timestamps=texts + 105,
        timestamp_begin=texts + _SPECIAL,
        non_speech_tokens=tuple(range(1, texts, 97)),
        encode=lambda text: [220],
    )


def tempt(logits: Tensor, tokenizer: Any, latest: Tensor, seed: int) -> None:
    """Raise the logits of tokens at the borders of what the rules allow."""
    generator = torch.Generator().manual_seed(seed)
    begin = tokenizer.timestamp_begin
    for row, last in enumerate(latest.tolist()):
        at_borders = [*tokenizer.encode(" "), tokenizer.eot, tokenizer.sot, 1000, begin, begin + _LATEST_FIRST]
        near = [begin + _LATEST_FIRST + 1, *(last + step for step in (-1, 0, 1, 2) if last > begin)]
        tempting = torch.tensor(at_borders + near)
        logits[row, tempting] = logits.max() + 20 * torch.rand(len(tempting), generator=generator)


if __name__ == "__main__":
    main()
