"""`python -m workers.engine bench`: how fast this machine decodes windows with a model, and where the time goes."""

from __future__ import annotations

import time
from concurrent.futures import Future
from pathlib import Path

import torch

from shared.settings import Precision
from workers.engine.engine import Answer, Engine, Options
from workers.engine.protocol import AskStats, Decode, Open, Opened


def bench(model: str, model_dir: Path, device: str, *, rows: int, tokens: int, windows: int) -> str:
    """Run `windows` windows of noise on each of `rows` sessions, `tokens` forced tokens each; the report."""
    engine = Engine(Options(model_dir=model_dir, device=device, slots=rows))
    precision: Precision = "float16" if device == "cuda" else "float32"
    sessions = range(1, rows + 1)
    opened = [engine.submit(one, Open(model=model, precision=precision), None).result()[0] for one in sessions]
    if not isinstance(opened[0], Opened):
        raise TypeError("the engine did not open the model")
    mel = torch.randn(opened[0].dims["n_mels"], 3000).to(getattr(torch, opened[0].precision))
    request = _forced(tokens, end_of_text=50257 if opened[0].dims["n_vocab"] > 51864 else 50256)
    _wave(engine, sessions, request, mel)  # compiles, captures
    started = time.perf_counter()
    for _ in range(windows):
        _wave(engine, sessions, request, mel)
    seconds = time.perf_counter() - started
    stats = engine.submit(0, AskStats(), None).result()[0]
    engine.close()
    realtime = 30 * rows * windows / seconds
    header = f"{model} {opened[0].precision} on {device}: {rows} rows, {tokens} tokens a window, noise"
    return f"{header}\n{realtime:.1f} times realtime, {seconds / windows / rows * 1e3:.1f} ms a window\n{stats!r}"


def _forced(tokens: int, end_of_text: int) -> Decode:
    return Decode(
        task="transcribe",
        language="en",
        temperature=0.0,
        sample_len=tokens,
        suppress_tokens=[-1, end_of_text],
        suppress_blank=True,
        without_timestamps=False,
        max_initial_timestamp=1.0,
    )


def _wave(engine: Engine, sessions: range, request: Decode, mel: torch.Tensor) -> None:
    answers: list[Future[Answer]] = [engine.submit(session, request, mel) for session in sessions]
    for answer in answers:
        answer.result()
