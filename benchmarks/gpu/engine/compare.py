"""Compares two decodings of the same windows: shares of equal ones, near ties where they part, word errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from whisper.decoding import DecodingOptions, DecodingTask
from whisper.normalizers import EnglishTextNormalizer

#: Two logits of stock that are nearer than this are a tie to float16.
TIE = 0.05


class Stock:
    """Stock whisper, which remembers all logits that it chose from when it decoded one window at a time."""

    def __init__(self, model: Any, options: DecodingOptions) -> None:
        self._model, self._options = model, options
        self._task = DecodingTask(model, options)
        self._begin: int = self._task.tokenizer.timestamp_begin
        self._end: int = self._task.tokenizer.eot
        self._seen: list[Tensor] = []  # of each window: [steps, vocabulary], before any rule

    def alone(self, mels: Sequence[Tensor]) -> list[Any]:
        """One window after the other, as `whisper.transcribe` does."""
        results: list[Any] = []
        for mel in mels:
            task, steps = DecodingTask(self._model, self._options), _Recorder()
            task.logit_filters.insert(0, steps)
            results += task.run(mel[None])
            self._seen.append(torch.cat(steps.logits).to(mel.dtype))
        return results

    def together(self, mels: Sequence[Tensor], size: int) -> list[Any]:
        """So many windows in one batch: how much that alone changes."""
        results: list[Any] = []
        for start in range(0, len(mels), size):
            results += DecodingTask(self._model, self._options).run(torch.stack(list(mels[start : start + size])))
        return results

    def margin(self, window: int, plain: list[int], other: list[int]) -> float:
        """How far apart stock's logits were where `other` took another token than `plain`, which stock took.

        Text against a timestamp is decided by the sum of all timestamps against the best text. Infinity: a token
        that whisper's rules forbid there.
        """
        one, two = [*plain, self._end], [*other, self._end]
        at = next(index for index, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
        raw = self._seen[window][at].float()[None].clone()
        tokens = torch.tensor([[*self._task.initial_tokens, *plain[:at]]], device=raw.device)
        *general, about_times = self._task.logit_filters
        for rule in general:
            rule.apply(raw, tokens)
        allowed = raw.clone()
        about_times.apply(allowed, tokens)
        if (one[at] >= self._begin) != (two[at] >= self._begin):
            text, time = sorted((one[at], two[at]))
            times = allowed[0, self._begin :].logsumexp(-1) if allowed[0, time].isfinite() else allowed[0, time]
            return float((times - raw[0, text]).abs())
        return float(allowed[0, one[at]] - allowed[0, two[at]])


class _Recorder:
    """Stands first among the filters and keeps what comes."""

    def __init__(self) -> None:
        self.logits: list[Tensor] = []

    def apply(self, logits: Tensor, _: Tensor) -> None:
        self.logits.append(logits.clone())


def compare(stock: Stock, plain: list[Any], other: list[Any]) -> dict[str, Any]:
    """What `other` has in common with `plain`, stock's own results one by one."""
    pairs = list(zip(plain, other, strict=True))
    margins = [stock.margin(at, a.tokens, b.tokens) for at, (a, b) in enumerate(pairs) if a.tokens != b.tokens]
    return {
        "tokens_equal_percent": _percent(a.tokens == b.tokens for a, b in pairs),
        "text_equal_percent": _percent(a.text == b.text for a, b in pairs),
        "margins_at_first_divergence": sorted((round(one, 4) for one in margins), reverse=True),
        "no_ties": sum(one >= TIE for one in margins),
    }


def word_errors(texts: list[str], results: list[Any]) -> float:
    """Word error rate in percent, after whisper's own normaliser."""
    normal = EnglishTextNormalizer()
    errors, words = 0, 0
    for text, result in zip(texts, results, strict=True):
        reference = normal(text).split()
        errors += distance(reference, normal(result.text).split())
        words += len(reference)
    return round(100 * errors / words, 3)


def distance(one: list[str], other: list[str]) -> int:
    """Word edits from one text to the other."""
    row = list(range(len(other) + 1))
    for at, word in enumerate(one, 1):
        previous, row[0] = row[0], at
        for index, candidate in enumerate(other, 1):
            change = previous + (word != candidate)
            previous, row[index] = row[index], min(change, row[index] + 1, row[index - 1] + 1)
    return row[-1]


def _percent(equal: Any) -> float:
    values = list(equal)
    return round(100 * sum(values) / len(values), 2)
