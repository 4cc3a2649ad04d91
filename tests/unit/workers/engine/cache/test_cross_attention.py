"""Both forms of cross-attention equal whisper's cross-attention, for decode steps, prompts and alignments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import whisper
from torch import Tensor
from whisper.model import ModelDimensions, Whisper

from whisper_fleet.shared.models import Form
from whisper_fleet.workers.engine.cache.cross_attention import (
    FORMS,
    AbsorbedAudio,
    CachedAudio,
    EncodedAudio,
    absorb,
    values_of,
)
from whisper_fleet.workers.engine.cache.kv_cache import KvCache
from whisper_fleet.workers.engine.model.checkpoint import open_checkpoint
from whisper_fleet.workers.engine.model.weights import Weights, place_weights
from whisper_fleet.workers.engine.sampling.row_state import IntColumn, RowState

CPU = torch.device("cpu")
SLOTS = torch.tensor([2, 0])
LAYER, STATE = 1, 128
MAX_ROWS = 512


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with two heads of the usual width, all weights of which are random."""
    torch.manual_seed(0)
    model = Whisper(ModelDimensions(80, 1500, STATE, 2, 1, 51865, 448, STATE, 2, 2))
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.1)
    path = tmp_path_factory.mktemp("models") / "two-heads.pt"
    torch.save({"dims": vars(model.dims), "model_state_dict": model.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def weights(checkpoint: Path) -> Weights:
    return place_weights(open_checkpoint(str(checkpoint), checkpoint.parent), torch.float32, CPU)


@pytest.fixture(scope="module")
def features() -> Tensor:
    return torch.randn(2, 1500, STATE, generator=torch.Generator().manual_seed(0))


def stored(form: Form, weights: Weights, features: Tensor) -> tuple[KvCache, EncodedAudio]:
    """Return a cache whose SLOTS hold the features, and the encoded audio in it."""
    cache = KvCache(weights.dims, torch.float32, CPU, form, MAX_ROWS)
    cache.resize(3, 1)
    audio = FORMS[form](weights, cache)
    audio.store(features, SLOTS)
    return cache, audio


@pytest.fixture(params=["cached", "absorbed"])
def audio(request: pytest.FixtureRequest, weights: Weights, features: Tensor) -> Iterator[EncodedAudio]:
    cache, audio = stored(request.param, weights, features)
    yield audio
    cache.release()


@pytest.fixture(scope="module")
def plain(checkpoint: Path) -> Any:
    """Whisper's cross-attention of one layer."""
    return whisper.load_model(str(checkpoint), device="cpu").decoder.blocks[LAYER].cross_attn


@pytest.mark.parametrize("tokens", [1, 5, 63, 64, 200])
@torch.inference_mode()
def test_either_form_attends_as_whisper_does(audio: EncodedAudio, plain: Any, features: Tensor, tokens: int) -> None:
    x = torch.randn(2, tokens, STATE, generator=torch.Generator().manual_seed(tokens))
    ours = plain.out(audio.attend(plain.query(x), SLOTS, LAYER))
    torch.testing.assert_close(ours, plain(x, features)[0], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_single_window_is_read_in_place(audio: EncodedAudio, plain: Any, features: Tensor) -> None:
    x = torch.randn(1, 3, STATE)
    ours = plain.out(audio.attend(plain.query(x), SLOTS[:1], LAYER))
    torch.testing.assert_close(ours, plain(x, features[:1])[0], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_keys_and_values_of_both_forms_are_equal_bit_for_bit(weights: Weights, features: Tensor) -> None:
    forms: tuple[Form, ...] = ("cached", "absorbed")
    (first, cached), (second, absorbed) = (stored(form, weights, features) for form in forms)
    pairs = zip(cached.keys_values(SLOTS, LAYER), absorbed.keys_values(SLOTS, LAYER), strict=True)
    assert all(torch.equal(part, projected) for part, projected in pairs)
    first.release()
    second.release()


def test_absorbed_audio_is_the_encoders_output_alone(weights: Weights) -> None:
    cached = KvCache(weights.dims, torch.float32, CPU, "cached", MAX_ROWS)
    absorbed = KvCache(weights.dims, torch.float32, CPU, "absorbed", MAX_ROWS)
    assert absorbed.audio.shape[1:] == (1500, STATE)
    assert cached.slot_bytes == 2 * weights.dims.n_text_layer * absorbed.slot_bytes
    assert isinstance(FORMS["absorbed"](weights, absorbed), AbsorbedAudio)
    assert isinstance(FORMS["cached"](weights, cached), CachedAudio)
    for cache in (cached, absorbed):
        cache.release()


@pytest.fixture
def nan_in_new_memory() -> Iterator[None]:
    """Make torch fill new memory with NaN."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def test_heads_are_views_of_the_weights(weights: Weights) -> None:
    layer = weights.decoder[LAYER]
    heads = layer.cross_heads(weights.dims.n_text_head)
    for part in (heads.key, heads.value):
        assert part.untyped_storage().data_ptr() == layer.cross_kv.weight.untyped_storage().data_ptr()


@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.usefixtures("nan_in_new_memory")
@torch.inference_mode()
def test_absorbing_equals_projecting_keys_and_values(weights: Weights, rows: int) -> None:
    heads = weights.decoder[LAYER].cross_heads(weights.dims.n_text_head)
    query = torch.randn(rows, weights.dims.n_text_head, heads.width)
    absorbed = absorb(query, heads)
    expected = torch.einsum("nhw,hws->nhs", query, heads.key) * heads.width**-0.5
    torch.testing.assert_close(absorbed, expected, rtol=1e-5, atol=1e-6)
    values = torch.einsum("nhs,hsw->nhw", absorbed, heads.value) + heads.value_bias
    torch.testing.assert_close(values_of(absorbed, heads), values.flatten(1), rtol=1e-5, atol=1e-5)


class PlainLatentAttention:
    """A stand-in for the fused kernel, in plain operations."""

    def __init__(self, *_: object) -> None:
        pass

    def __call__(
        self,
        query: Tensor,
        encoded: Tensor,
        active: Tensor,
        slots: Tensor,
        columns: int,
        slot_column: int,
        per_row: int,
        scale: float,
    ) -> Tensor:
        out = torch.full_like(query, float("nan"))
        for at in range(len(query)):
            row = at // per_row
            if active[row]:
                x = encoded[slots.flatten()[row * columns + slot_column]]
                out[at] = (scale * query[at] @ x.T).softmax(-1) @ x
        return out


@pytest.fixture(params=["kernel", "plain operations"])
def fused(request: pytest.FixtureRequest, weights: Weights, features: Tensor) -> Iterator[Any]:
    """The absorbed form as CUDA graphs use it, and the plain form, over the same cache."""
    kernels = pytest.importorskip("whisper_fleet.workers.engine.cuda.audio", reason="Triton is not installed")
    cache, plain = stored("absorbed", weights, features)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "LatentAttention", PlainLatentAttention)
        patch.setattr(kernels, "_is_served", lambda *_: request.param == "kernel")
        yield cache, kernels.FusedAbsorbedAudio(weights, cache), plain
    cache.release()


@torch.inference_mode()
def test_a_fused_step_reads_the_slots_of_active_rows(fused: Any, weights: Weights) -> None:
    from whisper_fleet.workers.engine.cuda.text import FusedStepAttention

    cache, kernel, plain = fused
    state = RowState(weights.dims, CPU, MAX_ROWS)
    state.ints[:4, IntColumn.SLOT] = torch.tensor([0, 2, 0, 2], dtype=torch.int32)
    state.active[:4] = torch.tensor([1, 1, 0, 1], dtype=torch.int32)
    query = torch.randn(4, STATE)
    read = FusedStepAttention(cache, kernel, state, 4).audio(query, LAYER)
    expected = plain.attend(query[:, None], torch.tensor([0, 2, 0, 2]), LAYER)[:, 0]
    live = [0, 1, 3]
    torch.testing.assert_close(read[live], expected[live], rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_a_fused_prompt_reads_each_windows_slot(fused: Any) -> None:
    from whisper_fleet.workers.engine.cuda.text import FusedPromptAttention

    cache, kernel, plain = fused
    query = torch.randn(2, 4, STATE)
    read = FusedPromptAttention(cache, kernel, SLOTS, 4, None).audio(query.view(8, STATE), LAYER)
    torch.testing.assert_close(read.view(2, 4, STATE), plain.attend(query, SLOTS, LAYER), rtol=1e-5, atol=1e-6)
