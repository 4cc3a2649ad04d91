"""The shape of a launch of a Hopper kernel follows from the work; the kernels themselves are tested on a GPU."""

from __future__ import annotations

import pytest

from whisper_fleet.workers.engine.cuda.hopper.self_attention import best_groups


@pytest.mark.parametrize(("heads", "groups"), [(8, 2), (20, 2), (18 * 8, 3), (18 * 20, 3)])
def test_attention_takes_larger_tiles_where_they_fill_the_gpu(heads: int, groups: int) -> None:
    assert best_groups(1500, heads, 132) == groups
