"""What the GPU benchmarks of the engine share: models with random weights, windows, a loop without a socket."""

from __future__ import annotations

import time
import zlib
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from whisper.model import AudioEncoder, ModelDimensions, TextDecoder

from shared.models import MODELS
from workers.engine.batcher import Batcher
from workers.engine.checkpoint import Checkpoint, alignment_heads
from workers.engine.loaded import ENCODE_BATCH, ENCODE_PATIENCE, Loaded
from workers.engine.plan import plan_decode
from workers.engine.protocol import Decode
from workers.engine.runner import Runner
from workers.engine.stats import Meter
from workers.engine.window import Session, Window


def random_checkpoint(name: str, device: str = "cuda") -> Checkpoint:
    """A model of the official size whose weights mean nothing."""
    torch.manual_seed(0)
    d = ModelDimensions(**vars(MODELS[name]))
    with torch.device("meta"):
        encoder = AudioEncoder(d.n_mels, d.n_audio_ctx, d.n_audio_state, d.n_audio_head, d.n_audio_layer)
        decoder = TextDecoder(d.n_vocab, d.n_text_ctx, d.n_text_state, d.n_text_head, d.n_text_layer)
    parts = torch.nn.ModuleDict({"encoder": encoder, "decoder": decoder})
    weights = {}
    for key, value in parts.state_dict().items():
        scale = 1.0 if key.endswith("weight") and value.ndim == 1 else 0.02
        random = torch.randn(value.shape, device=device, dtype=torch.float16) * 0.02
        weights[key] = random + 1 if scale == 1.0 else random
    return Checkpoint(name=name, dims=d, weights=weights, alignment_heads=alignment_heads(name, d))


def load(checkpoint: Checkpoint, slots: int, *, dtype: torch.dtype = torch.float16, **options: Any) -> Loaded:
    """The model as the engine holds it, with memory for so many slots."""
    options = {"reproducible": False, **options}
    runner = Runner(checkpoint, dtype, torch.device("cuda", 0), **options)
    batch = Batcher(slots=1, encode_batch=ENCODE_BATCH["cuda"], encode_patience=ENCODE_PATIENCE["cuda"])
    loaded = Loaded(checkpoint.name, checkpoint, runner, batch, Meter())
    loaded.resize(slots, lambda: False)
    return loaded


def request(loaded: Loaded, mel: Tensor, **options: Any) -> Window:
    """A decode request of a session of its own, as it arrives from the border."""
    asked = Decode(**{"task": "transcribe", "temperature": 0.0, "suppress_blank": True, "without_timestamps": False,
                      "language": "en", "suppress_tokens": "-1", "max_initial_timestamp": 1.0, **options})  # fmt: skip
    session = Session(number=zlib.crc32(str(time.perf_counter_ns()).encode()))
    session.fingerprint = 1
    plan = plan_decode(asked.options(), loaded.checkpoint.dims)
    window = Window(session=session, request=asked, future=Future(), mel=mel, plan=plan)
    session.window = window
    loaded.batch.add(window)
    return window


def run(loaded: Loaded, windows: list[Window]) -> float:
    """Step until all windows are answered; the seconds it took. A session leaves with its answer."""
    for window in windows:
        window.future.add_done_callback(lambda _, session=window.session: setattr(session, "closed", True))
    torch.cuda.synchronize()
    started = time.perf_counter()
    with torch.inference_mode():
        while loaded.step():
            for window in [one for one in loaded.batch._idle.values() if one.closed]:
                loaded.batch.drop(window)
    torch.cuda.synchronize()
    return time.perf_counter() - started


def noise(dims: ModelDimensions, windows: int) -> list[Tensor]:
    """Mel spectrograms of nothing in particular."""
    generator = torch.Generator().manual_seed(0)
    few = [torch.randn(dims.n_mels, 2 * dims.n_audio_ctx, generator=generator).half() for _ in range(8)]
    return [few[at % len(few)] for at in range(windows)]


def device_bytes() -> int:
    """Memory of the GPU that is in use, by whomever."""
    free, total = torch.cuda.mem_get_info()
    return total - free


def clip(path: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Samples of a 16 kHz mono wav file."""
    import wave

    with wave.open(str(path)) as audio:
        return np.frombuffer(audio.readframes(audio.getnframes()), np.int16).astype(np.float32) / 32768
