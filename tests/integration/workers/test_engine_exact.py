"""Transcripts through the engine equal plain `whisper.transcribe()`, whatever else is in the batch (CPU, float32)."""

from __future__ import annotations

import os
import threading
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import whisper
from numpy.typing import NDArray
from whisper.decoding import DecodingOptions

from whisper_fleet.shared.models import CrossAttention
from whisper_fleet.workers.engine.engine import Engine
from whisper_fleet.workers.engine.model.checkpoint import alignment_heads
from whisper_fleet.workers.engine.options import Options
from whisper_fleet.workers.link.client import EngineClient
from whisper_fleet.workers.link.server import Server
from whisper_fleet.workers.whisper import proxy

pytestmark = pytest.mark.integration

GREEDY: dict[str, Any] = {"temperature": 0.0, "language": "en"}
#: clip number (None: all five in a row) and whisper's options
CASES: list[tuple[int | None, dict[str, Any]]] = [
    (4, {"temperature": 0.0}),
    (1, {**GREEDY, "word_timestamps": True}),
    (1, {**GREEDY, "beam_size": 3}),
    (4, {**GREEDY, "initial_prompt": "A novel. " * 200}),
    (0, {**GREEDY, "beam_size": 5}),
    (2, {**GREEDY, "without_timestamps": True}),
    (3, {**GREEDY, "suppress_tokens": "", "max_initial_timestamp": None, "suppress_blank": False}),
    (0, {**GREEDY, "task": "translate"}),
    (None, {**GREEDY}),
    (None, {**GREEDY, "condition_on_previous_text": False}),
    (None, {**GREEDY, "initial_prompt": "Dashwood", "carry_initial_prompt": True}),
    (None, {**GREEDY, "word_timestamps": True, "hallucination_silence_threshold": 2.0}),
    (None, {**GREEDY, "clip_timestamps": "2,9,12,20"}),
    (0, {**GREEDY, "beam_size": 3, "patience": 2.0, "length_penalty": 0.5}),
    (2, {**GREEDY, "beam_size": 2, "word_timestamps": True}),
    (3, {**GREEDY, "sample_len": 10}),
    (4, {**GREEDY, "prefix": "And"}),
    (1, {**GREEDY, "suppress_tokens": "11,13"}),
    (0, {**GREEDY, "max_initial_timestamp": 0.0}),
    (2, {"temperature": 0.0, "task": "translate", "language": "de"}),
    (3, {"temperature": 0.0, "language": "fr"}),
    (1, {"temperature": 0.0, "beam_size": 4}),
    (4, {**GREEDY, "without_timestamps": True, "suppress_tokens": None}),
    (2, {**GREEDY, "fp16": False, "no_speech_threshold": None, "logprob_threshold": None}),
]
SHORT = 4


@contextmanager
def engine(form: CrossAttention, model_dir: Path, directory: Path) -> Iterator[EngineClient]:
    """An engine with four slots in this process."""
    engine = Engine(Options(model_dir=model_dir, device="cpu", slots=4, cross_attention=form))
    stdin, held = os.pipe()
    server = Server(engine, directory / "engine.sock", stdin)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield EngineClient(directory / "engine.sock")
    finally:
        server.stop()
        thread.join()
        engine.close()
        for end in (stdin, held):
            os.close(end)


@pytest.fixture(params=["cached", "absorbed"])
def client(request: pytest.FixtureRequest, base_model: Path, tmp_path: Path) -> Iterator[EngineClient]:
    """An engine with the real base model, in either form of cross-attention."""
    with engine(request.param, base_model.parent, tmp_path) as client:
        yield client


class Plain:
    """Whisper's own transcripts, each made once however many forms are compared with it."""

    def __init__(self, checkpoint: Path) -> None:
        self._model = whisper.load_model(str(checkpoint), device="cpu")
        dims = self._model.dims
        mask = torch.zeros(dims.n_text_layer, dims.n_text_head, dtype=torch.bool)
        for layer, head in alignment_heads("base", dims):
            mask[layer, head] = True
        self._model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)
        self._made: dict[str, dict[str, Any]] = {}

    def transcribe(self, clips: list[Path], case: tuple[int | None, dict[str, Any]]) -> dict[str, Any]:
        which, options = case
        if repr(case) not in self._made:
            made = self._model.transcribe(samples(clips, which), **{**options, "fp16": False})
            self._made[repr(case)] = made
        return self._made[repr(case)]


@pytest.fixture(scope="module")
def plain(base_model: Path) -> Plain:
    return Plain(base_model)


def samples(clips: list[Path], which: int | None) -> NDArray[np.float32]:
    chosen = clips if which is None else [clips[which]]
    return np.concatenate([read(clip) for clip in chosen])


def read(clip: Path) -> NDArray[np.float32]:
    with wave.open(str(clip)) as audio:
        return np.frombuffer(audio.readframes(audio.getnframes()), np.int16).astype(np.float32) / np.float32(32768)


def compare(client: EngineClient, plain: Plain, clips: list[Path], cases: list[tuple[int | None, Any]]) -> None:
    """All cases at once through the engine, one after the other through whisper."""
    results: dict[int, Any] = {}

    def transcribe(number: int) -> None:
        which, options = cases[number]
        with client.session("base", "float32") as session:
            audio = samples(clips, which)
            results[number] = proxy.transcribe(session, audio, lambda _: None, **options)

    threads = [threading.Thread(target=transcribe, args=(number,)) for number in range(len(cases))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, case in enumerate(cases):
        assert_equal(results[number], plain.transcribe(clips, case), case[1])


def assert_equal(got: dict[str, Any], expected: dict[str, Any], options: Any) -> None:
    assert got["text"] == expected["text"], options
    assert got["language"] == expected["language"], options
    assert len(got["segments"]) == len(expected["segments"]), options
    for ours, theirs in zip(got["segments"], expected["segments"], strict=True):
        for key in ("start", "end", "tokens", "text", "temperature"):
            assert ours[key] == theirs[key], options
        assert ours["avg_logprob"] == pytest.approx(theirs["avg_logprob"], abs=1e-5), options
        for word, same in zip(ours.get("words", []), theirs.get("words", []), strict=True):
            assert (word["word"], word["start"], word["end"]) == (same["word"], same["start"], same["end"])


def test_a_few_transcripts_equal_whispers_own(client: EngineClient, plain: Plain, speech: dict[Path, str]) -> None:
    compare(client, plain, list(speech), CASES[:SHORT])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_transcripts_equal_whispers_own(client: EngineClient, plain: Plain, speech: dict[Path, str]) -> None:
    for start in range(0, len(CASES), 8):
        compare(client, plain, list(speech), CASES[start : start + 8])


def test_either_form_draws_the_same_candidates(base_model: Path, speech: dict[Path, str], tmp_path: Path) -> None:
    audio = whisper.pad_or_trim(samples(list(speech), 4))
    mel = whisper.log_mel_spectrogram(torch.from_numpy(audio))
    options = DecodingOptions(language="en", temperature=0.8, best_of=3, sample_len=20, fp16=False)
    drawn = []
    forms: tuple[CrossAttention, ...] = ("cached", "absorbed")
    for form in forms:
        with engine(form, base_model.parent, tmp_path) as client, client.session("base", "float32") as session:
            drawn.append(session.decode(mel, options))
    cached, absorbed = drawn
    assert cached.tokens == absorbed.tokens
    assert cached.avg_logprob == pytest.approx(absorbed.avg_logprob, abs=1e-5)
