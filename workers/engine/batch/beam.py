"""Beam search over one window, as whisper's BeamSearchDecoder does it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Sequences = dict[tuple[int, ...], float]


class BeamSearch:
    """The beams of one window; sequences hold sampled tokens only."""

    def __init__(self, *, beams: int, max_candidates: int, max_sampled: int, end_of_text: int) -> None:
        self._beams, self._max_candidates, self._end = beams, max_candidates, end_of_text
        self._max_sampled = max_sampled  # tokens, the end of text included
        self._sequences: list[tuple[int, ...]] = [()] * beams
        self._sums = np.zeros(beams, dtype=np.float32)
        self.finished: Sequences = {}

    @property
    def completed(self) -> bool:
        """Whether enough sequences are finished, or all have as many tokens as may be sampled.

        A GPU reports one step late that rows are inactive, so the host must know it by itself.
        """
        return self._has_enough or len(self._sequences[0]) >= self._max_sampled

    @property
    def _has_enough(self) -> bool:
        return len(self.finished) >= self._max_candidates

    def advance(
        self, logprobs: Sequence[Sequence[float]], tokens: Sequence[Sequence[int]]
    ) -> tuple[list[int], list[int]]:
        """Choose the next beams, from the best next tokens of each beam and their log-probabilities.

        Returns each new beam's token and the number of the beam that it continues.
        """
        scores: Sequences = {}
        sources: dict[tuple[int, ...], int] = {}
        for beam, prefix in enumerate(self._sequences):
            for logprob, token in zip(logprobs[beam], tokens[beam], strict=True):
                sequence = (*prefix, token)
                scores[sequence] = float(self._sums[beam] + np.float32(logprob))
                sources[sequence] = beam
        kept: list[tuple[int, ...]] = []
        finished: Sequences = {}
        for sequence in sorted(scores, key=scores.__getitem__, reverse=True):
            if sequence[-1] == self._end:
                finished[sequence] = scores[sequence]
                continue
            kept.append(sequence)
            if len(kept) == self._beams:
                break
        self._sequences = kept
        self._sums = np.array([scores[sequence] for sequence in kept], dtype=np.float32)
        for sequence, score in finished.items():  # best first
            if not self._has_enough:
                self.finished[sequence] = score
        return [sequence[-1] for sequence in kept], [sources[sequence] for sequence in kept]

    def candidates(self) -> tuple[list[list[int]], list[float]]:
        """Return the finished sequences without their end, and their log-probabilities; unfinished ones fill up."""
        sequences = dict(self.finished)
        if len(sequences) < self._beams:
            for beam in np.argsort(self._sums)[::-1]:
                sequences[(*self._sequences[beam], self._end)] = float(self._sums[beam])
                if len(sequences) >= self._beams:
                    break
        return [list(sequence[:-1]) for sequence in sequences], list(sequences.values())


def rank(tokens: list[list[int]], logprobs: list[float], length_penalty: float | None) -> int:
    """Return the index of the best sequence, as whisper's MaximumLikelihoodRanker chooses it."""

    def penalty(length: int) -> float:
        # whisper divides by zero for an empty sequence; it counts as one token here
        return max(length, 1) if length_penalty is None else ((5 + length) / 6) ** length_penalty

    return int(np.argmax([total / penalty(len(sequence)) for sequence, total in zip(tokens, logprobs, strict=True)]))
