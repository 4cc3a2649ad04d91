"""What an engine does under load is the same on every device: these checks run on a CPU and on a GPU."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import ModelUnavailable
from tests.engines import TINY, RunningEngine, decoded, random_model, served
from tests.waiting import until
from workers import whisper_proxy
from workers.engine_client import EngineClient

Samples = NDArray[np.float32]


def check_resizing(engine: RunningEngine, *, tokens: int) -> None:
    """From 8 slots to 64 and down to 2 while rows run: every window decodes as if nothing had happened."""
    seeds = range(14)
    undisturbed = engine.decode_all(seeds, sample_len=tokens)
    sessions = [engine.open() for _ in seeds]
    answers = [engine.decode(session, seed, sample_len=tokens) for session, seed in zip(sessions, seeds, strict=True)]
    until(lambda: engine.stats().rows_live == 8)
    engine.resize(64)
    until(lambda: engine.stats().rows_live > 8)
    held = engine.stats().memory_bytes["cache"]
    engine.resize(2)
    assert [decoded(answer) for answer in answers] == undisturbed
    assert engine.stats().memory_bytes["cache"] < held
    assert decoded(engine.decode(sessions[0], 0, sample_len=tokens)) == undisturbed[0]


def check_dropping(engine: RunningEngine) -> None:
    """Of two clients that decode one goes away: its row is gone at the next step, the other's result is as ever."""
    leaving, staying = engine.open(), engine.open()
    alone = decoded(engine.decode(staying, 1, sample_len=200))
    dropped = engine.decode(leaving, 0, sample_len=200)
    kept = engine.decode(staying, 1, sample_len=200)
    until(lambda: engine.stats().rows_live == 2)
    engine.engine.forget(leaving)
    assert engine.stats().rows_live == 1
    assert dropped.cancelled()
    assert decoded(kept) == alone


def check_unusable_models(engine: RunningEngine, directory: Path) -> None:
    """Model files that are missing, truncated or something else are refused beside a window that goes on."""
    session = engine.open()
    running = engine.decode(session, 0, sample_len=200)
    whole = random_model(directory / "whole.pt", TINY)
    (directory / "truncated.pt").write_bytes(whole.read_bytes()[:100_000])
    (directory / "words.pt").write_text("not a checkpoint")
    for name in ("truncated.pt", "words.pt", "missing.pt"):
        with pytest.raises(ModelUnavailable, match=name):
            engine.open(directory / name)
    assert decoded(running).tokens
    assert len(engine.stats().models) == 1


def check_reproducible(engine: RunningEngine, socket: Path, clips: list[Samples], options: dict[str, Any]) -> None:
    """The same audio gives the same bytes alone, with 4 others, and with 12 that come and go."""
    with served(engine.engine, socket) as client:
        runs = [_transcribe_beside(client, engine, clips, options, others) for others in (0, 4, 12)]
    assert runs[0] == runs[1] == runs[2]
    assert json.loads(runs[0])["segments"]


def _transcribe_beside(
    client: EngineClient, engine: RunningEngine, clips: list[Samples], options: dict[str, Any], others: int
) -> str:
    """The whole result as JSON; `others` transcribe something else meanwhile, joining at random moments."""
    chance = random.Random(others)
    enough = threading.Event()
    threads = [
        threading.Thread(target=_keep_busy, args=(client, engine, chance.choice(clips), options, enough, delay))
        for delay in [chance.random() for _ in range(others)]
    ]
    for thread in threads:
        thread.start()
    try:
        with client.session(str(engine.model), engine.precision) as session:
            audio = np.concatenate(clips)
            return json.dumps(whisper_proxy.transcribe(session, audio, lambda _: None, **options))
    finally:
        enough.set()
        for thread in threads:
            thread.join()


class _EnoughError(Exception):
    """The transcript that this one was to disturb is done."""


def _keep_busy(
    client: EngineClient,
    engine: RunningEngine,
    audio: Samples,
    options: dict[str, Any],
    enough: threading.Event,
    delay: float,
) -> None:
    def on_window(_: float) -> None:
        if enough.is_set():
            raise _EnoughError

    enough.wait(delay)
    while not enough.is_set():
        with client.session(str(engine.model), engine.precision) as session:
            try:
                whisper_proxy.transcribe(session, audio, on_window, **options)
            except _EnoughError:
                return
