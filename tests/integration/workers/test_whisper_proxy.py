"""Through the engine, `whisper.transcribe()` returns what it returns on the model itself."""

from __future__ import annotations

import itertools
import math
import threading
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import whisper
from numpy.typing import NDArray

from whisper_fleet.shared.errors import EngineDied, SegmentStopped
from whisper_fleet.shared.settings import Settings
from whisper_fleet.workers.link.client import EngineClient
from whisper_fleet.workers.node.engine_command import engine_command, engine_environment, engine_socket
from whisper_fleet.workers.node.engine_process import EngineProcess
from whisper_fleet.workers.whisper.proxy import transcribe

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

Audio = NDArray[np.float32]

#: In a batch, floats are summed in another order, so that the last digits of these may differ.
PROBABILITIES = {"avg_logprob", "no_speech_prob", "probability"}

OPTION_SETS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "language given, no condition": {
        "temperature": 0.0,
        "language": "en",
        "condition_on_previous_text": False,
    },
    "words": {"temperature": 0.0, "language": "en", "word_timestamps": True},
    "words, silence skipped": {
        "temperature": 0.0,
        "language": "en",
        "word_timestamps": True,
        "hallucination_silence_threshold": 2.0,
    },
    "prompt carried": {
        "temperature": 0.0,
        "language": "en",
        "initial_prompt": "A novel by Jane Austen.",
        "carry_initial_prompt": True,
    },
    "beams": {"temperature": 0.0, "language": "en", "beam_size": 3, "sample_len": 40},
    "clips, no timestamps": {
        "temperature": 0.0,
        "language": "en",
        "clip_timestamps": "1,6,8,14",
        "without_timestamps": True,
    },
}

#: The option sets of the short form of this test; the others take minutes on two cores.
QUICK = {"words", "clips, no timestamps"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[EngineClient]:
    settings = Settings(var_dir=tmp_path_factory.mktemp("var"), model_roots=(tiny_model.parent,))
    socket = engine_socket(settings)
    command = engine_command(settings, "cpu", socket)
    process = EngineProcess(command, engine_environment(settings, "cpu"), socket, lambda: None)
    process.start()
    try:
        assert process.wait_ready(60)
        process.client.resize(4)
        yield process.client
    finally:
        process.stop()


@pytest.fixture(scope="module")
def base(base_model: Path) -> whisper.Whisper:
    model = whisper.load_model(str(base_model), device="cpu")
    model.set_alignment_heads(whisper._ALIGNMENT_HEADS["base"])
    return model


@pytest.fixture
def two_windows(speech: dict[Path, str]) -> Audio:
    """38 s of speech."""
    clips = [_read(path) for path in speech]
    return np.concatenate(clips)[: 38 * 16000]


@pytest.fixture
def noise() -> Audio:
    return (np.random.default_rng(0).normal(size=50 * 16000) * 0.1).astype(np.float32)


def _read(path: Path) -> Audio:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / np.float32(32768)


def through_the_engine(engine: EngineClient, model: str | Path, audio: Audio, **options: Any) -> dict[str, Any]:
    with engine.session(str(model), "float32") as session:
        return transcribe(session, audio, lambda seconds: None, **options)


def assert_same(given: Any, expected: Any, name: str = "") -> None:
    if isinstance(expected, dict):
        assert given.keys() == expected.keys()
        for key in expected:
            assert_same(given[key], expected[key], key)
    elif isinstance(expected, list):
        assert len(given) == len(expected)
        for given_item, expected_item in zip(given, expected, strict=True):
            assert_same(given_item, expected_item, name)
    elif name in PROBABILITIES:
        assert math.isclose(given, expected, abs_tol=2e-4), name
    else:
        assert given == expected, name


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # whisper's beams under NumPy 2
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name, options in OPTION_SETS.items()
    ],
)
def test_speech_is_transcribed_as_by_whisper_itself(
    engine: EngineClient, base: whisper.Whisper, two_windows: Audio, options: dict[str, Any]
) -> None:
    threads = torch.get_num_threads()
    expected = whisper.transcribe(base, two_windows, fp16=False, **options)
    assert expected["text"].strip()
    assert_same(through_the_engine(engine, "base", two_windows, **options), expected)
    assert torch.get_num_threads() == threads


def test_several_transcriptions_at_once_do_not_mix(engine: EngineClient, tiny_model: Path, noise: Audio) -> None:
    model = whisper.load_model(str(tiny_model), device="cpu")
    options: dict[str, Any] = {"temperature": 0.0, "language": "en", "word_timestamps": True}
    noise = noise[: 20 * 16000]
    audios = [np.roll(noise, 16000 * shift) * (shift + 1) for shift in range(6)]
    expected = [whisper.transcribe(model, audio, fp16=False, **options) for audio in audios]
    with ThreadPoolExecutor(6) as threads:
        given = list(threads.map(lambda audio: through_the_engine(engine, tiny_model, audio, **options), audios))
    for result, expected_result in zip(given, expected, strict=True):
        assert_same(result, expected_result)


@pytest.mark.filterwarnings("ignore:std_mean:UserWarning")  # whisper's, over no frame at all
def test_the_words_of_a_window_too_short_for_one_frame_are_whispers(
    engine: EngineClient, tiny_model: Path, noise: Audio
) -> None:
    model = whisper.load_model(str(tiny_model), device="cpu")
    options: dict[str, Any] = {"temperature": 0.0, "language": "en", "sample_len": 8, "word_timestamps": True}
    options |= {"clip_timestamps": "1.00,1.01,2.00,2.02", "no_speech_threshold": None}
    expected = whisper.transcribe(model, noise, fp16=False, **options)
    assert expected["segments"]
    assert_same(through_the_engine(engine, tiny_model, noise, **options), expected)


def test_every_window_is_announced_with_the_seconds_that_are_done(
    engine: EngineClient, tiny_model: Path, noise: Audio
) -> None:
    seconds: list[float] = []
    with engine.session(str(tiny_model), "float32") as session:
        transcribe(session, noise, seconds.append, temperature=0.0, language="en", sample_len=4)
    assert seconds[0] == 0.0
    assert len(seconds) >= 2
    assert seconds == sorted(seconds)
    assert 0.0 < seconds[-1] < 50.0


@pytest.mark.parametrize("options", [{"temperature": 0.0, "sample_len": 4}, {"word_timestamps": True, "sample_len": 8}])
def test_the_text_so_far_grows_window_by_window_to_the_text(
    engine: EngineClient, tiny_model: Path, noise: Audio, options: dict[str, Any]
) -> None:
    texts: list[str] = []
    with engine.session(str(tiny_model), "float32") as session:
        found = transcribe(session, noise, lambda _: None, on_text=texts.append, language="en", **options)
    assert len(texts) >= 2
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert texts[-1] == found["text"]


def test_an_error_at_a_window_ends_the_transcription(engine: EngineClient, tiny_model: Path, noise: Audio) -> None:
    def stop_at_the_second(seconds_done: float) -> None:
        if seconds_done > 0:
            raise SegmentStopped(reason="the test stops it")

    with engine.session(str(tiny_model), "float32") as session, pytest.raises(SegmentStopped):
        transcribe(session, noise, stop_at_the_second, temperature=0.0, language="en", sample_len=4)


def test_closing_the_session_ends_the_transcription(engine: EngineClient, tiny_model: Path, noise: Audio) -> None:
    with engine.session(str(tiny_model), "float32") as session:
        threading.Timer(0.3, session.close).start()
        with pytest.raises(EngineDied):
            transcribe(session, np.tile(noise, 20), lambda seconds: None, temperature=0.0, language="en")


def test_whisper_without_a_proxy_works_as_before(engine: EngineClient, tiny_model: Path, noise: Audio) -> None:
    model = whisper.load_model(str(tiny_model), device="cpu")
    options: dict[str, Any] = {"temperature": 0.0, "language": "en", "sample_len": 8, "word_timestamps": True}
    before = whisper.transcribe(model, noise, fp16=False, **options)
    through_the_engine(engine, tiny_model, noise, **options)
    assert whisper.transcribe(model, noise, fp16=False, verbose=False, **options) == before
