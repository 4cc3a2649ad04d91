"""Attention on a CPU equals attention on any device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from tests.support.in_process_engine import random_model
from tests.support.small_models import small_dims
from whisper_fleet.workers.engine.cache.cross_attention import CachedAudio
from whisper_fleet.workers.engine.cache.kv_cache import KvCache
from whisper_fleet.workers.engine.model.checkpoint import open_checkpoint
from whisper_fleet.workers.engine.model.weights import Weights, place_weights
from whisper_fleet.workers.engine.network.attention import HostStepAttention, StepAttention
from whisper_fleet.workers.engine.network.host_attention import HostAudio, attend_to_itself
from whisper_fleet.workers.engine.sampling.row_state import IntColumn, RowState

CPU = torch.device("cpu")
STATE, LAYER = 128, 1
MAX_ROWS = 512


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    dims = replace(small_dims(state=STATE, heads=2), n_text_layer=2)
    path = random_model(tmp_path_factory.mktemp("models") / "two-heads.pt", dims)
    return place_weights(open_checkpoint(str(path), path.parent), torch.float32, CPU)


@pytest.fixture
def caches(weights: Weights) -> Iterator[tuple[KvCache, KvCache]]:
    """Two caches with four slots and eight rows, which hold the same past."""
    caches = [KvCache(weights.dims, torch.float32, CPU, "cached", MAX_ROWS) for _ in range(2)]
    past = torch.randn(8, *caches[0].text.shape[1:])
    for cache in caches:
        cache.resize(4, 8)
        cache.text[:8] = past
    yield caches[0], caches[1]
    for cache in caches:
        cache.release()


@pytest.mark.parametrize("frames", [1500, 17])
@torch.inference_mode()
def test_self_attention_of_frames_equals_torchs(frames: int) -> None:
    query, key, value = torch.randn(3, 2, 3, frames, 64)
    expected = functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(attend_to_itself(query, key, value), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chosen", [[1], [0, 1, 2], [2, 0], [3, 3]])
@torch.inference_mode()
def test_keys_and_values_by_head_are_the_same(
    weights: Weights, caches: tuple[KvCache, KvCache], chosen: list[int]
) -> None:
    host, plain = HostAudio(weights, caches[0]), CachedAudio(weights, caches[1])
    features, slots = torch.randn(4, 1500, STATE), torch.tensor([3, 0, 2, 1])
    for audio in (host, plain):
        audio.store(features, slots)
    ours, theirs = (audio.keys_values(torch.tensor(chosen), LAYER) for audio in (host, plain))
    assert all(torch.equal(our, their) for our, their in zip(ours, theirs, strict=True))


#: Rows, their positions, their slots, and the pasts that beams share: (row, row that holds it, positions).
STEPS = [
    ([0], [5], [0], []),
    ([0, 1, 2], [5, 9, 2], [0, 1, 2], []),
    ([1, 2, 3], [30, 1, 100], [2, 0, 1], []),
    ([0, 2, 5], [5, 6, 7], [3, 0, 1], []),
    ([0, 1, 2, 3], [8, 8, 8, 4], [1, 1, 1, 0], [(1, 0, 6), (2, 1, 3)]),
]


@pytest.mark.parametrize(("rows", "positions", "slots", "shared"), STEPS)
@torch.inference_mode()
def test_a_step_on_a_cpu_equals_a_step_on_any_device(
    weights: Weights,
    caches: tuple[KvCache, KvCache],
    rows: list[int],
    positions: list[int],
    slots: list[int],
    shared: list[tuple[int, int, int]],
) -> None:
    state = RowState(weights.dims, CPU, MAX_ROWS)
    at = torch.tensor(rows)
    state.ints[at, IntColumn.POSITION] = torch.tensor(positions, dtype=torch.int32)
    state.ints[at, IntColumn.SLOT] = torch.tensor(slots, dtype=torch.int32)
    state.holder[at] = at[:, None].int()
    for row, past, length in shared:
        state.holder[row, :length] = past
    features, query = torch.randn(4, 1500, STATE), torch.randn(len(rows), STATE)
    qkv = torch.randn(len(rows), 3 * STATE)
    host, plain = HostAudio(weights, caches[0]), CachedAudio(weights, caches[1])
    steps: list[HostStepAttention | StepAttention] = [
        HostStepAttention(caches[0], host, state, at),
        StepAttention(caches[1], plain, state, at),
    ]
    read: list[Tensor] = []
    for audio, step in zip((host, plain), steps, strict=True):
        audio.store(features, torch.arange(4))
        read.append(torch.cat([step.text(qkv, LAYER), step.audio(query, LAYER)]))
    torch.testing.assert_close(read[0], read[1], rtol=1e-5, atol=1e-5)
