"""In float16 the encoder computes whisper's numbers to the last bit, for any number of windows at once.

Whatever differs by a last bit anywhere is noise everywhere after it: so nothing here is compared but for equality.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from whisper.model import Whisper

from tests.support.small_models import small_dims
from whisper_fleet.shared.memory import ENCODER_ROWS
from whisper_fleet.workers.engine.batch.policy import GPU_POLICY
from whisper_fleet.workers.engine.model.checkpoint import Checkpoint
from whisper_fleet.workers.engine.model.weights import Norm
from whisper_fleet.workers.engine.runner import Runner

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
GPU = torch.device("cuda", 0)


@pytest.fixture(scope="module", params=[(80, 512, 8), (128, 1280, 20)], ids=["base's width", "large-v3's width"])
def model(request: pytest.FixtureRequest) -> Any:
    """Two layers of random weights that float16 holds exactly."""
    n_mels, state, heads = request.param
    torch.manual_seed(0)
    model = Whisper(small_dims(mels=n_mels, state=state, heads=heads, layers=2))
    for name, weights in model.named_parameters():
        if name.endswith(("ln.weight", "ln_post.weight")):
            torch.nn.init.normal_(weights, mean=1.0, std=0.2)
        else:
            torch.nn.init.normal_(weights, std=state**-0.5)
    return model.half().float().eval().to(GPU)


@pytest.fixture(params=["cached", "absorbed"])
def runner(request: pytest.FixtureRequest, model: Any) -> Iterator[Runner]:
    """A runner with as many slots as windows are encoded at once."""
    weights = {name: weights.half().cpu() for name, weights in model.state_dict().items()}
    checkpoint = Checkpoint(name="random", dims=model.dims, weights=weights, alignment_heads=())
    runner = Runner(checkpoint, torch.float16, GPU, GPU_POLICY, cross_attention=request.param, bit_exact_encoder=True)
    runner.model.cache.resize(ENCODER_ROWS, ENCODER_ROWS)
    yield runner
    runner.release()


def mels(model: Any, count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(count)
    return [torch.randn(model.dims.n_mels, 3000, generator=generator).half() for _ in range(count)]


@pytest.mark.parametrize("count", [1, 5, ENCODER_ROWS])
@torch.inference_mode()
def test_encoded_windows_are_whispers(model: Any, runner: Runner, count: int) -> None:
    from whisper_fleet.workers.engine.cuda.path import FusedPath

    assert isinstance(runner.path, FusedPath)
    slots = list(range(count))
    for _ in range(2):  # as it is, and captured
        runner.path.encode(mels(model, count), slots)
        runner.finish_encoding(wait=True)
    for slot, mel in enumerate(mels(model, count)):
        features = model.encoder(mel[None].to(GPU))
        for layer, block in enumerate(model.decoder.blocks):
            keys, values = runner.path.audio.keys_values(torch.tensor([slot], device=GPU), layer)
            assert torch.equal(keys.transpose(1, 2).flatten(2), block.cross_attn.key(features))
            assert torch.equal(values.transpose(1, 2).flatten(2), block.cross_attn.value(features))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("width", [384, 512, 768, 1024, 1280])
@pytest.mark.parametrize("rows", [1000, 9001])
def test_a_fused_norm_is_torchs(rows: int, width: int, dtype: torch.dtype) -> None:
    from whisper_fleet.workers.engine.cuda.norm import FusedArithmetic

    torch.manual_seed(width)
    x, y = (torch.randn(rows, width, device=GPU).to(dtype) for _ in range(2))
    norm = Norm(torch.randn(width, device=GPU), torch.randn(width, device=GPU))
    arithmetic = FusedArithmetic(GPU)
    total, normed = arithmetic.add_norm(x, y, norm)
    assert torch.equal(total, x + y)
    assert torch.equal(normed, F.layer_norm(total.float(), (width,), norm.weight, norm.bias).to(dtype))
    assert torch.equal(arithmetic.norm(x, norm), F.layer_norm(x.float(), (width,), norm.weight, norm.bias).to(dtype))
