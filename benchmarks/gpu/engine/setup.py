"""Common parts of the engine benchmarks: models with random weights, windows, a loop without a socket."""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import sys
import time
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from benchmarks.support.random_weights import random_weights
from whisper_fleet.shared.models import MODELS, CrossAttention, ModelDims
from whisper_fleet.workers.engine.batch.policy import BatchPolicy, policy_of
from whisper_fleet.workers.engine.batch.window import Window
from whisper_fleet.workers.engine.loaded_model import LoadedModel
from whisper_fleet.workers.engine.model.checkpoint import Checkpoint, alignment_heads
from whisper_fleet.workers.engine.requests import plan_decode
from whisper_fleet.workers.engine.runner import Runner
from whisper_fleet.workers.engine.stats import Meter
from whisper_fleet.workers.link.decode_options import options_of
from whisper_fleet.workers.link.protocol import Decode

FORMS: tuple[CrossAttention, ...] = get_args(CrossAttention)
SECONDS_A_WINDOW = 30
_numbers = itertools.count()


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """Return a command line with the options of every benchmark."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a rehearsal, in float32")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    return parser


def dtype_of(device: str) -> torch.dtype:
    """Return the precision that is measured: float16 on a GPU, float32 on a CPU."""
    return torch.float16 if device == "cuda" else torch.float32


def write(out: Path | None, device: str, report: dict[str, Any]) -> None:
    """Write the figures with the machine, the versions, the date and the command that measured them."""
    if out is None:
        return
    machine = {
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "date": time.strftime("%F"),
        "command": " ".join([Path(sys.argv[0]).stem, *sys.argv[1:]]),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"machine": machine, **report}, indent=1) + "\n")


def table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """Print a short table; None is a dash."""
    cells = [head, *[tuple("-" if cell is None else str(cell) for cell in row) for row in rows]]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True)


def random_checkpoint(name: str, device: str = "cuda") -> Checkpoint:
    """Return a model of an official size with random weights."""
    dims = MODELS[name]
    return Checkpoint(
        name=name, dims=dims, weights=random_weights(dims, device), alignment_heads=alignment_heads(name, dims)
    )


def load(
    checkpoint: Checkpoint,
    slots: int,
    *,
    device: str = "cuda",
    form: CrossAttention = "auto",
    policy: BatchPolicy | None = None,
    bit_exact_encoder: bool = False,
) -> LoadedModel:
    """Load a model as the engine does, with memory for this many slots."""
    where = torch.device("cuda", 0) if device == "cuda" else torch.device("cpu")
    policy = policy or policy_of(device)
    runner = Runner(
        checkpoint, dtype_of(device), where, policy, cross_attention=form, bit_exact_encoder=bit_exact_encoder
    )
    loaded = LoadedModel.create(checkpoint.name, checkpoint, runner, policy, Meter(), make_room=lambda: False)
    loaded.capacity.resize(slots)
    return loaded


def unload(loaded: LoadedModel) -> None:
    """Give the model's memory back."""
    on_gpu = loaded.runner.model.device.type == "cuda"
    loaded.runner.release()
    gc.collect()
    if on_gpu:
        torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()


def request(loaded: LoadedModel, mel: Tensor, **options: Any) -> Window:
    """Queue a decode request in a session of its own."""
    asked = Decode(**{"task": "transcribe", "temperature": 0.0, "suppress_blank": True, "without_timestamps": False,
                      "language": "en", "suppress_tokens": "-1", "max_initial_timestamp": 1.0, **options})  # fmt: skip
    session = loaded.batch.open_session(next(_numbers))
    plan = plan_decode(options_of(asked), loaded.checkpoint.dims)
    window = Window(session=session, request=asked, future=Future(), audio=mel, fingerprint=1, plan=plan)
    loaded.admit(window)
    return window


def forced(loaded: LoadedModel, tokens: int) -> dict[str, Any]:
    """Return the options of a request that samples exactly this many tokens."""
    return {"sample_len": tokens, "suppress_tokens": [-1, loaded.runner.model.vocabulary.end_of_text]}


def run(loaded: LoadedModel, windows: list[Window]) -> float:
    """Step until all windows have their reply, and return the seconds that it took. A session ends with its reply."""
    for window in windows:
        window.future.add_done_callback(partial(_forget, loaded, window.session.number))
    wait(loaded.runner.model.device.type)
    started = time.perf_counter()
    with torch.inference_mode():
        while loaded.step():
            pass
    wait(loaded.runner.model.device.type)
    return time.perf_counter() - started


def _forget(loaded: LoadedModel, session: int, _: object) -> None:
    loaded.forget(session)


def wait(device: str) -> None:
    """Wait until the device has done all that was issued."""
    if device == "cuda":
        torch.cuda.synchronize()


def text(tokens: int) -> list[int] | None:
    """Return so many tokens of text for a prompt."""
    return torch.randint(0, 50000, (tokens,), generator=torch.Generator().manual_seed(1)).tolist() if tokens else None


def noise(dims: ModelDims, windows: int, *, pinned: bool = False) -> list[Tensor]:
    """Return mel spectrograms of random noise; pinned, as the socket's server receives them for a GPU."""
    generator = torch.Generator().manual_seed(0)
    few = [torch.randn(dims.n_mels, 2 * dims.n_audio_ctx, generator=generator).half() for _ in range(8)]
    if pinned:
        few = [mel.pin_memory() for mel in few]
    return [few[at % len(few)] for at in range(windows)]


def device_bytes(device: str = "cuda") -> int:
    """Return the bytes of GPU memory that all processes together use."""
    if device != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info()
    return total - free
