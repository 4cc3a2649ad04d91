"""Checks of an engine under load that run on a CPU and on a GPU: it behaves the same on every device."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.in_process_engine import TINY, InProcessEngine, decoded, random_model, served
from tests.support.waiting import wait_until
from whisper_fleet.shared.errors import ModelUnavailable
from whisper_fleet.shared.models import Form
from whisper_fleet.workers.link.client import EngineClient
from whisper_fleet.workers.whisper import proxy

Samples = NDArray[np.float32]


def read(clip: Path) -> Samples:
    """Return the samples of a 16 kHz mono clip."""
    with wave.open(str(clip)) as audio:
        return np.frombuffer(audio.readframes(audio.getnframes()), np.int16).astype(np.float32) / np.float32(32768)


def check_resizing(engine: InProcessEngine, *, tokens: int) -> None:
    """Resize from 8 slots to 64 and down to 2 while rows run: every window decodes as without a resize."""
    seeds = range(14)
    undisturbed = engine.decode_all(seeds, sample_len=tokens)
    sessions = [engine.open() for _ in seeds]
    answers = [engine.decode(session, seed, sample_len=tokens) for session, seed in zip(sessions, seeds, strict=True)]
    wait_until(lambda: engine.stats().rows_live == 8)
    engine.resize(64)
    wait_until(lambda: engine.stats().rows_live > 8)
    held = engine.stats().memory_bytes["cache"]
    engine.resize(2)
    assert [decoded(answer) for answer in answers] == undisturbed
    assert engine.stats().memory_bytes["cache"] < held
    assert decoded(engine.decode(sessions[0], 0, sample_len=tokens)) == undisturbed[0]


def check_form(engine: InProcessEngine) -> Form:
    """Check that the next model gets the reported form of cross-attention, and return it."""
    reported = engine.stats().forms[engine.precision]
    engine.open()
    (loaded,) = engine.engine._models
    assert loaded.runner.model.cache.form == reported
    return reported


def check_dropping(engine: InProcessEngine) -> None:
    """Disconnect one of two decoding clients: its row is freed at the next step, the other's result is unchanged."""
    leaving, staying = engine.open(), engine.open()
    alone = decoded(engine.decode(staying, 1, sample_len=200))
    dropped = engine.decode(leaving, 0, sample_len=200)
    kept = engine.decode(staying, 1, sample_len=200)
    wait_until(lambda: engine.stats().rows_live == 2)
    engine.engine.forget(leaving)
    assert engine.stats().rows_live == 1
    assert dropped.cancelled()
    assert decoded(kept) == alone


def check_unusable_models(engine: InProcessEngine, directory: Path) -> None:
    """Missing, truncated and wrong model files are refused while a window continues."""
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


def check_reproducible(engine: InProcessEngine, socket: Path, clips: list[Samples], options: dict[str, Any]) -> None:
    """The same audio gives the same bytes alone, with 4 others, and with 12 that join and leave."""
    with served(engine.engine, socket) as client:
        made = [one for others in (0, 4, 12) for one in Load(client, engine, clips, options, others).transcripts()]
    assert len(made) >= 3
    assert len(set(made)) == 1
    assert json.loads(made[0])["segments"]


class _EnoughError(Exception):
    """The transcript that this load was meant to disturb is done."""


class Load:
    """One transcript, and a number of others that join at random moments."""

    def __init__(
        self, client: EngineClient, engine: InProcessEngine, clips: list[Samples], options: dict[str, Any], others: int
    ) -> None:
        self._client, self._engine, self._clips, self._options = client, engine, clips, options
        self._enough = threading.Event()
        self._chance = random.Random(others)
        self._joined: set[int] = set()
        self._others = others

    def transcripts(self) -> list[str]:
        """Return the complete result as JSON, repeatedly until all others have joined."""
        delays = [self._chance.random() / 2 for _ in range(self._others)]
        clips = [self._chance.choice(self._clips) for _ in delays]
        threads = [
            threading.Thread(target=self._keep_busy, args=(number, *both))
            for number, both in enumerate(zip(clips, delays, strict=True))
        ]
        for thread in threads:
            thread.start()
        try:
            made = [self._transcribe(np.concatenate(self._clips), lambda _: None)]
            while len(self._joined) < self._others:
                made.append(self._transcribe(np.concatenate(self._clips), lambda _: None))
            return made
        finally:
            self._enough.set()
            for thread in threads:
                thread.join()

    def _transcribe(self, audio: Samples, on_window: proxy.OnWindow) -> str:
        with self._client.session(str(self._engine.model), self._engine.precision) as session:
            return json.dumps(proxy.transcribe(session, audio, on_window, **self._options))

    def _keep_busy(self, number: int, audio: Samples, delay: float) -> None:
        def on_window(_: float) -> None:
            self._joined.add(number)
            if self._enough.is_set():
                raise _EnoughError

        self._enough.wait(delay)
        with contextlib.suppress(_EnoughError):
            while not self._enough.is_set():
                self._transcribe(audio, on_window)
