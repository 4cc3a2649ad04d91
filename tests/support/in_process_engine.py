"""An engine in the test's own process, called without a socket."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from whisper.model import Whisper

from tests.support.small_models import small_dims
from whisper_fleet.shared.models import MODELS, ModelDims, Precision
from whisper_fleet.workers.engine.engine import Answer, Engine
from whisper_fleet.workers.engine.options import Options
from whisper_fleet.workers.link.client import EngineClient
from whisper_fleet.workers.link.protocol import AskStats, Decode, Decoded, EngineStats, Open, Resize
from whisper_fleet.workers.link.server import Server

TINY = small_dims(layers=2)
BASE = MODELS["base"]
END_OF_TEXT = 50257


def random_model(path: Path, dims: ModelDims, *, seed: int = 0, std: float = 0.1) -> Path:
    """Write a checkpoint with random weights, and return its path."""
    torch.manual_seed(seed)
    model = Whisper(dims)
    for name, weights in model.named_parameters():
        if name.endswith(("ln.weight", "ln_post.weight")):
            torch.nn.init.ones_(weights)
        else:
            torch.nn.init.normal_(weights, std=std)
    torch.save({"dims": vars(dims), "model_state_dict": model.state_dict()}, path)
    return path


def mel_of(seed: int) -> Tensor:
    """Return the random spectrogram of a window, [80, 3000]."""
    return torch.randn(80, 3000, generator=torch.Generator().manual_seed(seed))


class InProcessEngine:
    """An engine and the sessions that a test opens on it."""

    def __init__(self, model: Path, *, device: str = "cpu", precision: Precision = "float32", **options: Any) -> None:
        self.model, self.precision = model, precision
        self.engine = Engine(Options(model_dir=model.parent, device=device, **options))
        self._sessions = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.close()

    def open(self, model: Path | None = None) -> int:
        """Open a session, wait until its model is loaded, and return its number."""
        self._sessions += 1
        request = Open(model=str(model or self.model), precision=self.precision)
        self.engine.submit(self._sessions, request, None).result(60)
        return self._sessions

    def decode(self, session: int, seed: int, **options: Any) -> Future[Answer]:
        """Request the window of `seed`: exactly 60 tokens unless the options change that."""
        asked: dict[str, Any] = {
            "task": "transcribe",
            "language": "en",
            "temperature": 0.0,
            "sample_len": 60,
            "suppress_tokens": [-1, END_OF_TEXT],
            "suppress_blank": True,
            "without_timestamps": False,
            "max_initial_timestamp": 1.0,
        }
        mel = mel_of(seed).to(getattr(torch, self.precision))
        return self.engine.submit(session, Decode(**{**asked, **options}), mel)

    def decode_all(self, seeds: range, **options: Any) -> list[Decoded]:
        """Decode each window in its own session, all at once, and close the sessions."""
        sessions = [self.open() for _ in seeds]
        answers = [self.decode(session, seed, **options) for session, seed in zip(sessions, seeds, strict=True)]
        results = [decoded(answer) for answer in answers]
        for session in sessions:
            self.engine.forget(session)
        return results

    def resize(self, slots: int) -> None:
        self.engine.submit(0, Resize(slots=slots), None).result(60)

    def stats(self) -> EngineStats:
        """Return the statistics after all earlier requests have been received."""
        stats = self.engine.submit(0, AskStats(), None).result(60)[0]
        assert isinstance(stats, EngineStats)
        return stats


@contextmanager
def served(engine: Engine, socket: Path) -> Iterator[EngineClient]:
    """Serve the engine on a socket, as nodes reach it, and yield a client."""
    stdin, held = os.pipe()
    server = Server(engine, socket, stdin)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield EngineClient(socket)
    finally:
        server.stop()
        thread.join()
        for end in (stdin, held):
            os.close(end)


def decoded(answer: Future[Answer]) -> Decoded:
    """Wait for a decode request and return its result."""
    reply = answer.result(60)[0]
    assert isinstance(reply, Decoded)
    return reply
