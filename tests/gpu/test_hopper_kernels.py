"""The kernels for Hopper compute what torch computes: products to the last bit, the others to the precision's noise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from whisper_fleet.workers.engine.model.linear import Linear

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available() or torch.cuda.get_device_capability() != (9, 0), reason="needs a Hopper GPU"
    ),
]
GPU = torch.device("cuda", 0)
#: Relative distance from float32's result.
NOISE = {torch.float16: 1e-3, torch.bfloat16: 8e-3}


def random(*shape: int, dtype: torch.dtype, scale: float = 1.0) -> Tensor:
    return (torch.randn(*shape, device=GPU) * scale).to(dtype)


def distance(got: Tensor, expected: Tensor) -> float:
    return float((got.float() - expected.float()).norm() / expected.float().norm())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 1500, 27_000])
@pytest.mark.parametrize(("columns", "depth"), [(2048, 512), (512, 2048), (5120, 1280), (1280, 5120), (1280, 384)])
@torch.inference_mode()
def test_a_product_with_its_epilogue_is_torchs(rows: int, columns: int, depth: int, dtype: torch.dtype) -> None:
    from whisper_fleet.workers.engine.cuda.hopper.product import FusedProducts

    torch.manual_seed(rows + columns)
    products = FusedProducts(GPU)
    linear = Linear(random(columns, depth, dtype=dtype, scale=depth**-0.5), random(columns, dtype=dtype))
    x, residual = random(rows, depth, dtype=dtype), random(rows, columns, dtype=dtype)
    assert products.is_served(linear)
    expected = F.gelu(linear(x)), residual + linear(x)
    for got, wanted in zip((products.gelu(x, linear), products.add(x, linear, residual)), expected, strict=True):
        if rows > 1:
            assert torch.equal(got, wanted)
        else:  # cuBLAS has another algorithm for one row
            assert distance(got, wanted) < NOISE[dtype]


def test_a_map_that_the_kernel_does_not_serve_is_known() -> None:
    from whisper_fleet.workers.engine.cuda.hopper.product import FusedProducts

    products = FusedProducts(GPU)
    for columns, depth, dtype in ((384, 1536, torch.float16), (512, 80, torch.float16), (512, 512, torch.float32)):
        linear = Linear(torch.zeros(columns, depth, dtype=dtype), torch.zeros(columns, dtype=dtype))
        assert not products.is_served(linear)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("windows", "frames", "heads"), [(1, 1500, 8), (3, 1500, 20), (2, 333, 6), (1, 64, 1)])
@torch.inference_mode()
def test_attention_is_torchs_to_the_precisions_noise(windows: int, frames: int, heads: int, dtype: torch.dtype) -> None:
    from whisper_fleet.workers.engine.cuda.hopper.self_attention import WIDTH, SelfAttention

    torch.manual_seed(frames)
    attention = SelfAttention(GPU)
    assert attention.is_served(dtype, WIDTH)
    qkv = random(windows, frames, 3 * heads * WIDTH, dtype=dtype, scale=2.0)
    query, key, value = qkv.float().view(windows, frames, 3, heads, WIDTH).permute(2, 0, 3, 1, 4)
    expected = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    assert distance(attention(qkv), expected) < NOISE[dtype]


@torch.inference_mode()
def test_windows_do_not_see_each_other() -> None:
    from whisper_fleet.workers.engine.cuda.hopper.self_attention import SelfAttention

    qkv = random(2, 1500, 3 * 512, dtype=torch.float16)
    alone = SelfAttention(GPU)(qkv[:1].contiguous())
    qkv[1] = float("nan")
    assert torch.equal(SelfAttention(GPU)(qkv)[:1], alone)


@pytest.mark.parametrize("model", ["base", "large-v3"])
@pytest.mark.parametrize("windows", [1, 3, 18])
@torch.inference_mode()
def test_the_stem_is_whispers_to_the_precisions_noise(model: str, windows: int) -> None:
    from benchmarks.gpu.engine.setup import random_checkpoint
    from whisper_fleet.workers.engine.cuda.hopper.product import FusedProducts
    from whisper_fleet.workers.engine.cuda.hopper.stem import FusedStem
    from whisper_fleet.workers.engine.model.weights import place_weights
    from whisper_fleet.workers.engine.network.encoder_parts import PlainEncoderParts

    weights = place_weights(random_checkpoint(model), torch.float16, GPU)
    stem: Any = FusedStem(weights, FusedProducts(GPU))
    assert stem.is_served()
    mel = random(windows, weights.dims.n_mels, 3000, dtype=torch.float16)
    expected = PlainEncoderParts(weights).stem(mel)
    got = stem(mel)
    assert got.shape == expected.shape
    for window in range(windows):
        assert distance(got[window], expected[window]) < NOISE[torch.float16]
