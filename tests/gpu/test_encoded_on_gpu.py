"""Both forms of cross-attention on a GPU compute what whisper computes in float32, in captured steps and prompts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from whisper.model import Whisper

from tests.support.small_models import small_dims
from whisper_fleet.workers.engine.cache.kv_cache import KvCache
from whisper_fleet.workers.engine.cuda.graphs import Graphs
from whisper_fleet.workers.engine.model.checkpoint import Checkpoint
from whisper_fleet.workers.engine.model.weights import place_weights
from whisper_fleet.workers.engine.sampling.row_state import IntColumn, RowState

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
GPU = torch.device("cuda", 0)
LAYER, STATE, HEADS = 1, 1280, 20
SLOTS = [2, 0]
MAX_ROWS = 512


@pytest.fixture(scope="module")
def model() -> Any:
    """Two layers of large-v3's width with random weights that float16 holds exactly; scores reach far from zero."""
    torch.manual_seed(0)
    model = Whisper(replace(small_dims(state=STATE, heads=HEADS), n_text_layer=2))
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=STATE**-0.5)
    return model.half().float()


@pytest.fixture(scope="module")
def features() -> Tensor:
    return torch.randn(2, 1500, STATE, generator=torch.Generator().manual_seed(0)).half()


@pytest.fixture(params=["cached", "absorbed"])
def kept(request: pytest.FixtureRequest, model: Any, features: Tensor) -> Iterator[Any]:
    """The features in two of three slots."""
    from whisper_fleet.workers.engine.cuda.audio import FUSED_FORMS

    checkpoint = Checkpoint(name="random", dims=model.dims, weights=model.state_dict(), alignment_heads=())
    weights = place_weights(checkpoint, torch.float16, GPU)
    cache = KvCache(weights.dims, torch.float16, GPU, request.param, MAX_ROWS)
    cache.resize(3, 1)
    audio = FUSED_FORMS[request.param](weights, cache)
    with torch.inference_mode():
        audio.store(features.to(GPU), torch.tensor(SLOTS, device=GPU))
    yield cache, audio
    cache.release()


def queries(rows: int, seed: int) -> Tensor:
    return (4 * torch.randn(rows, STATE, generator=torch.Generator().manual_seed(seed))).half()


@torch.inference_mode()
def expected(model: Any, query: Tensor, features: Tensor) -> Tensor:
    """query [tokens, state] over features [frame, state], by whisper in float32."""
    attention = model.decoder.blocks[LAYER].cross_attn
    x = features.float()[None]
    attended: Tensor = attention.qkv_attention(query.float()[None], attention.key(x), attention.value(x))[0][0]
    return attended


def assert_near(got: Tensor, wanted: Tensor) -> None:
    error = (got.float().cpu() - wanted).abs()
    assert float(wanted.std()) > 0.3  # attention is sharp: its sums are not all alike
    assert float(error.mean()) < 0.001
    assert float(error.max()) < 0.03


@torch.inference_mode()
def test_a_captured_step_follows_its_rows_to_other_slots(kept: Any, model: Any, features: Tensor) -> None:
    from whisper_fleet.workers.engine.cuda.text import FusedStepAttention

    cache, audio = kept
    state = RowState(model.dims, GPU, MAX_ROWS)
    state.active[:4] = torch.tensor([1, 0, 1, 1], dtype=torch.int32, device=GPU)
    query = torch.zeros(4, STATE, dtype=torch.float16, device=GPU)
    graphs, attention = Graphs(), FusedStepAttention(cache, audio, state, 4)
    for seed, slots in enumerate([[0, 0, 2, 2], [2, 0, 0, 2], [0, 0, 0, 0]]):
        state.ints[:4, IntColumn.SLOT] = torch.tensor(slots, dtype=torch.int32, device=GPU)
        asked = queries(4, seed)
        query.copy_(asked)
        got = graphs.run(("step", 4, False), lambda: attention.audio(query, LAYER)).clone()
        for row in (0, 2, 3):
            window = features[SLOTS.index(slots[row])]
            assert_near(got[row : row + 1], expected(model, asked[row : row + 1], window))


@pytest.mark.parametrize("tokens", [4, 32])
@torch.inference_mode()
def test_a_prompt_reads_each_windows_slot(kept: Any, model: Any, features: Tensor, tokens: int) -> None:
    from whisper_fleet.workers.engine.cuda.text import FusedPromptAttention

    cache, audio = kept
    slots, asked = torch.tensor(SLOTS, device=GPU), queries(2 * tokens, 0)
    if tokens == 4:
        attention = FusedPromptAttention(cache, audio, slots, tokens, None)
        got = attention.audio(asked.to(GPU), LAYER).view(2, tokens, STATE)
    else:
        got = audio.attend(asked.to(GPU).view(2, tokens, STATE), slots, LAYER)
    for at in (0, 1):
        assert_near(got[at], expected(model, asked.view(2, tokens, STATE)[at], features[at]))
