"""A beam search keeps and ends its sequences as whisper's does."""

from __future__ import annotations

import pytest

from whisper_fleet.workers.engine.batch.beam import BeamSearch, rank


def test_beams_end_when_enough_candidates_are_finished() -> None:
    search = BeamSearch(beams=2, max_candidates=2, max_sampled=224, end_of_text=9)
    assert search.advance([[-0.1, -1.0, -2.0]] * 2, [[5, 9, 6]] * 2) == ([5, 6], [1, 1])
    assert not search.completed
    search.advance([[-0.1, -0.2, -3.0], [-0.5, -0.6, -0.7]], [[9, 5, 6], [9, 5, 6]])
    assert search.completed
    tokens, logprobs = search.candidates()
    assert tokens == [[], [5]]
    assert logprobs == pytest.approx([-1.0, -0.2])
    assert rank(tokens, logprobs, None) == 1


def test_beams_end_when_no_more_tokens_may_be_sampled() -> None:
    search = BeamSearch(beams=1, max_candidates=1, max_sampled=2, end_of_text=9)
    search.advance([[-0.1, -1.0]], [[5, 6]])
    assert not search.completed
    search.advance([[-0.2, -1.0]], [[7, 6]])
    assert search.completed
    assert search.candidates() == ([[5, 7]], [pytest.approx(-0.3)])
