"""Every path on which a GPU can run the model computes what whisper computes, to the precision's noise."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
import torch
import whisper
from torch import Tensor

from tests.support.in_process_engine import END_OF_TEXT, mel_of
from whisper_fleet.shared.models import CrossAttention, Precision
from whisper_fleet.workers.engine.batch.policy import GPU_POLICY
from whisper_fleet.workers.engine.batch.result import Decoding
from whisper_fleet.workers.engine.batch.window import Session, Window
from whisper_fleet.workers.engine.device.device_path import GroupLogits
from whisper_fleet.workers.engine.device.plain_path import PlainPath
from whisper_fleet.workers.engine.model.checkpoint import open_checkpoint
from whisper_fleet.workers.engine.requests import plan_decode
from whisper_fleet.workers.engine.runner import Runner
from whisper_fleet.workers.engine.sampling.row_state import IntColumn
from whisper_fleet.workers.link.protocol import DetectLanguage

pytestmark = pytest.mark.gpu

DEVICE = torch.device("cuda", 0)
TOKENS = torch.randint(0, 50000, (40,), generator=torch.Generator().manual_seed(0)).tolist()
#: Relative distance of logits from float32's.
NOISE: dict[Precision, float] = {"float32": 1e-3, "float16": 5e-3, "bfloat16": 4e-2}


@pytest.fixture(scope="session")
def truth(base_size: Path) -> Tensor:
    """Return whisper's own logits in float32, [tokens, vocabulary]."""
    model = whisper.load_model(str(base_size), device=DEVICE)
    start = whisper.tokenizer.get_tokenizer(True, language="en", task="transcribe").sot_sequence
    with torch.inference_mode():
        audio = model.encoder(mel_of(0)[None].to(DEVICE))
        read = torch.tensor([[*start, *TOKENS]], device=DEVICE)
        logits: Tensor = model.decoder(read, audio)[0, -len(TOKENS) :].float().cpu()
    return logits


@torch.inference_mode()
def forced_logits(checkpoint: Path, precision: Precision, form: CrossAttention, *, fused: bool) -> Tensor:
    """Return the logits [tokens, vocabulary] of decode steps that read TOKENS, whatever the model chose."""
    dtype = getattr(torch, precision)
    opened = open_checkpoint(str(checkpoint), checkpoint.parent)
    runner = Runner(opened, dtype, DEVICE, GPU_POLICY, cross_attention=form)
    assert isinstance(runner.path, PlainPath) is not fused
    seen: list[Tensor] = []
    _spy(runner, seen)
    with runner.stream:
        window = _window(runner)
        runner.encode([(window, mel_of(0).to(dtype))])
        runner.finish_encoding(wait=True)
        runner.start((window,))
        seen.clear()
        for token in TOKENS:
            runner.model.state.ints[0, IntColumn.TOKEN] = token
            runner.decode()
        kept = torch.stack(seen).cpu()
    runner.release()
    return kept


def _spy(runner: Runner, seen: list[Tensor]) -> None:
    """Keep row 0's logits of every step."""
    step = runner.path.step

    def step_and_keep(live: list[Decoding]) -> Iterator[GroupLogits]:
        for computed in step(live):
            seen.append(computed.logits[0].float().clone())
            yield computed

    runner.path.step = step_and_keep  # type: ignore[method-assign]  # to look at it


def _window(runner: Runner) -> Window:
    options = whisper.DecodingOptions(language="en", sample_len=len(TOKENS) + 5, suppress_tokens=[END_OF_TEXT])
    return Window(
        session=Session(number=1, cache_slot=0),
        request=DetectLanguage(),
        future=Future(),
        plan=plan_decode(options, runner.model.dims),
        rows=(0,),
    )


def distance(logits: Tensor, truth: Tensor) -> float:
    """Return the relative distance over all tokens and the complete vocabulary."""
    return float((logits[:, : truth.shape[1]] - truth).norm() / truth.norm())


@pytest.mark.parametrize("form", ["cached", "absorbed"])
@pytest.mark.parametrize("precision", ["float16", "bfloat16", "float32"])
def test_fused_steps_compute_whispers_logits(
    base_size: Path, truth: Tensor, precision: Precision, form: CrossAttention
) -> None:
    logits = forced_logits(base_size, precision, form, fused=True)
    assert distance(logits, truth) < NOISE[precision]


@pytest.mark.parametrize("form", ["cached", "absorbed"])
@pytest.mark.parametrize("precision", ["float16", "bfloat16", "float32"])
@pytest.mark.usefixtures("no_triton")
def test_plain_steps_compute_whispers_logits(
    base_size: Path, truth: Tensor, precision: Precision, form: CrossAttention
) -> None:
    logits = forced_logits(base_size, precision, form, fused=False)
    assert distance(logits, truth) < NOISE[precision]


def test_absorbed_attention_is_as_near_to_whisper_as_cached(base_size: Path, truth: Tensor) -> None:
    cached = forced_logits(base_size, "float16", "cached", fused=True)
    absorbed = forced_logits(base_size, "float16", "absorbed", fused=True)
    noise = distance(cached, truth)
    assert distance(absorbed, truth) < 2 * noise
    assert distance(absorbed, cached) < 3 * noise


@pytest.mark.parametrize("form", ["cached", "absorbed"])
@pytest.mark.parametrize("length", [3, 7, 30, 100, 227])
@torch.inference_mode()
def test_prompts_in_graphs_compute_whispers_logits(base_size: Path, form: CrossAttention, length: int) -> None:
    """Two prompts, one of them shorter, of windows in crossed slots; their keys are left in the rows."""
    texts = (TOKENS * 6)[:length], (TOKENS * 6)[1:length]
    model = whisper.load_model(str(base_size), device=DEVICE)
    runner = Runner(open_checkpoint(str(base_size), base_size.parent), torch.float16, DEVICE, GPU_POLICY,
                    cross_attention=form)  # fmt: skip
    runner.model.cache.resize(2, 2)
    with runner.stream:
        runner.path.encode([mel_of(seed).half() for seed in (0, 1)], [1, 0])
        runner.finish_encoding(wait=True)
        for _ in range(2):  # as it is, and captured
            first, last = runner.path.prompt([list(text) for text in texts], [1, 0], [1, 0], [0, 1]).float().unbind()
    for window, text in enumerate(texts):
        audio = model.encoder(mel_of(window)[None].to(DEVICE))
        expected = model.decoder(torch.tensor([text], device=DEVICE), audio)[0].float()
        assert distance(last[window][None], expected[-1:]) < NOISE["float16"]
        assert distance(first[window][None], expected[1 - window][None]) < NOISE["float16"]
        keys = runner.model.cache.text[window, 0, 0].float()  # of the first layer: [head, position, width]
        embedded = model.decoder.token_embedding.weight[text] + model.decoder.positional_embedding[: len(text)]
        block = model.decoder.blocks[0]
        wanted = block.attn.key(block.attn_ln(embedded)).view(len(text), keys.shape[0], -1).transpose(0, 1)
        assert float((keys[:, : len(text)] - wanted).norm() / wanted.norm()) < NOISE["float16"]
    runner.release()
