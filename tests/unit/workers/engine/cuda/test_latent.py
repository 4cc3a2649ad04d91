"""How the kernel of absorbed cross-attention divides its work; tests/gpu compares its results."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_fleet.shared.models import MODELS
from whisper_fleet.workers.engine.cuda.latent import Shape, best_splits

H200 = {"multiprocessors": 132, "resident": 1}
BLOCKS = 94  # of 16 frames each, in a window


@pytest.mark.parametrize("name", MODELS)
def test_every_official_model_fits_a_hopper_multiprocessor(name: str) -> None:
    shape = Shape(MODELS[name].n_audio_state, MODELS[name].n_text_head)
    assert shape.shared <= 227 * 1024
    assert shape.state == 128 * shape.warps


def test_a_single_row_is_split_among_many_multiprocessors() -> None:
    assert best_splits(1, 20, BLOCKS, **H200) >= 16


@pytest.mark.parametrize("rows", [120, 132, 256])
def test_rows_that_fill_the_gpu_are_not_split(rows: int) -> None:
    assert best_splits(rows, 20, BLOCKS, **H200) == 1


def test_rows_that_fill_half_of_the_gpu_are_split_in_two() -> None:
    assert best_splits(64, 20, BLOCKS, **H200) == 2


@given(
    rows=st.integers(1, 512), heads=st.sampled_from([6, 8, 12, 16, 20]), blocks=st.integers(1, BLOCKS),
    multiprocessors=st.integers(1, 200), resident=st.integers(1, 4),
)  # fmt: skip
def test_no_span_is_empty(rows: int, heads: int, blocks: int, multiprocessors: int, resident: int) -> None:
    splits = best_splits(rows, heads, blocks, multiprocessors, resident)
    assert 1 <= splits <= blocks
