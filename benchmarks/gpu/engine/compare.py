"""Compares two decodings of the same windows: how many are equal, near ties where they differ, word errors."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from whisper.decoding import DecodingOptions, DecodingTask
from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer

#: Two logits of stock that are nearer than this are a tie to float16.
TIE = 0.05


class Stock:
    """Stock whisper on windows of known languages; remembers the logits that it chose from one window at a time.

    Windows are spectrograms, or audio features, which whisper then does not encode again.
    """

    def __init__(self, model: Any, languages: Sequence[str], *, fp16: bool) -> None:
        self._model, self._languages = model, languages
        self._options = {one: DecodingOptions(language=one, temperature=0.0, fp16=fp16) for one in languages}
        self._tasks = {language: DecodingTask(model, options) for language, options in self._options.items()}
        tokenizer = self._tasks[languages[0]].tokenizer
        self._begin: int = tokenizer.timestamp_begin
        self._end: int = tokenizer.eot
        self._seen: list[Tensor] = []  # of each window: [steps, vocabulary], before any rule

    def alone(self, windows: Sequence[Tensor]) -> list[Any]:
        """Decode one window after the other, as `whisper.transcribe` does."""
        results: list[Any] = []
        for window, language in zip(windows, self._languages, strict=True):
            task, steps = DecodingTask(self._model, self._options[language]), _Recorder()
            task.logit_filters.insert(0, steps)
            results += task.run(window[None])
            self._seen.append(torch.cat(steps.logits).to(window.dtype))
        return results

    def together(self, windows: Sequence[Tensor], size: int) -> list[Any]:
        """Decode windows of one language in batches of `size`: this shows how much the batch size alone changes."""
        results: list[Any] = []
        for language, own in itertools.groupby(zip(self._languages, windows, strict=True), lambda pair: pair[0]):
            for batch in _batches([window for _, window in own], size):
                results += DecodingTask(self._model, self._options[language]).run(batch)
        return results

    def features(self, mels: Sequence[Tensor], size: int) -> list[Tensor]:
        """Return the audio features of windows that are encoded in batches of `size`."""
        return [one for batch in _batches(mels, size) for one in self._model.encoder(batch)]

    def margin(self, window: int, plain: list[int], other: list[int]) -> float:
        """How far apart stock's logits were where `other` took another token than `plain`, which stock took.

        Text against a timestamp is decided by the sum of all timestamps against the best text. Infinity: a token
        that whisper's rules forbid there.
        """
        one, two = [*plain, self._end], [*other, self._end]
        at = next(index for index, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
        raw = self._seen[window][at].float()[None].clone()
        task = self._tasks[self._languages[window]]
        tokens = torch.tensor([[*task.initial_tokens, *plain[:at]]], device=raw.device)
        *general, about_times = task.logit_filters
        for rule in general:
            rule.apply(raw, tokens)
        allowed = raw.clone()
        about_times.apply(allowed, tokens)
        if (one[at] >= self._begin) != (two[at] >= self._begin):
            text, time = sorted((one[at], two[at]))
            times = allowed[0, self._begin :].logsumexp(-1) if allowed[0, time].isfinite() else allowed[0, time]
            return float((times - raw[0, text]).abs())
        return float(allowed[0, one[at]] - allowed[0, two[at]])


def _batches(windows: Sequence[Tensor], size: int) -> Iterator[Tensor]:
    for start in range(0, len(windows), size):
        yield torch.stack(list(windows[start : start + size]))


class _Recorder:
    """A logit filter that runs first and keeps the logits."""

    def __init__(self) -> None:
        self.logits: list[Tensor] = []

    def apply(self, logits: Tensor, _: Tensor) -> None:
        self.logits.append(logits.clone())


def compare(stock: Stock, plain: list[Any], other: list[Any]) -> dict[str, Any]:
    """Return how far `other` equals `plain`, which stock whisper decoded one window at a time."""
    pairs = list(zip(plain, other, strict=True))
    margins = [stock.margin(at, a.tokens, b.tokens) for at, (a, b) in enumerate(pairs) if a.tokens != b.tokens]
    return {
        "tokens_equal_percent": _percent(a.tokens == b.tokens for a, b in pairs),
        "text_equal_percent": _percent(a.text == b.text for a, b in pairs),
        "margins_at_first_divergence": sorted((round(one, 4) for one in margins), reverse=True),
        "no_ties": sum(one >= TIE for one in margins),
    }


def word_errors(texts: list[str], languages: Sequence[str], results: list[Any]) -> float:
    """Return the word error rate in percent, after whisper's own normalisers."""
    english, other = EnglishTextNormalizer(), BasicTextNormalizer()
    errors, words = 0, 0
    for text, language, result in zip(texts, languages, results, strict=True):
        normal = english if language == "en" else other
        reference = normal(text).split()
        errors += distance(reference, normal(result.text).split())
        words += len(reference)
    return round(100 * errors / words, 3)


def distance(one: list[str], other: list[str]) -> int:
    """Return the number of word edits between two texts."""
    row = list(range(len(other) + 1))
    for at, word in enumerate(one, 1):
        previous, row[0] = row[0], at
        for index, candidate in enumerate(other, 1):
            change = previous + (word != candidate)
            previous, row[index] = row[index], min(change, row[index] + 1, row[index - 1] + 1)
    return row[-1]


def _percent(equal: Any) -> float:
    values = list(equal)
    return round(float(100 * sum(values) / len(values)), 2)
