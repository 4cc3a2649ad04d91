"""Spectrograms in blocks equal whisper's bit for bit, and only threads that transcribe with a proxy compute them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import whisper
from numpy.typing import NDArray
from whisper.audio import N_SAMPLES
from whisper.audio import log_mel_spectrogram as whispers_own
from whisper.model import ModelDimensions

from whisper_fleet.shared.models import ModelDims
from whisper_fleet.workers.whisper import proxy, spectrogram
from whisper_fleet.workers.whisper.spectrogram import log_mel_spectrogram

DIMENSIONS = ModelDimensions(80, 1500, 64, 1, 2, 51865, 448, 64, 1, 2)


class FirstWindow(Exception):
    """Raised to end a transcription once its spectrogram is computed."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread, as a node does: the rounding of whisper's function depends on how threads divide the frames."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def noise(samples: int, loudness: float = 0.1) -> NDArray[np.float32]:
    return np.random.default_rng(samples).normal(0, loudness, samples).astype(np.float32)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("seconds", [0.0, 0.1, 7.3, 29.99, 30.0, 61.2, 61.2345, 300.0])
def test_any_length_is_as_whisper_computes_it(seconds: float, n_mels: int) -> None:
    audio = noise(round(seconds * 16_000))
    expected = whispers_own(audio, n_mels, padding=N_SAMPLES)
    assert torch.equal(log_mel_spectrogram(audio, n_mels, padding=N_SAMPLES), expected)


@pytest.mark.parametrize("samples", [1, 39, 159, 160, 199, 200, 201, 401, 61_240, 61_241, 384 * 160, 768 * 160 - 200])
def test_edges_of_the_audio_and_of_blocks_are_as_whisper_computes_them(samples: int) -> None:
    audio = noise(samples)
    assert torch.equal(log_mel_spectrogram(audio, 80, N_SAMPLES), whispers_own(audio, 80, N_SAMPLES))


@pytest.mark.parametrize("loudness", [0.0, 1e-7, 1e-3, 50.0])
def test_silence_and_loud_noise_are_as_whisper_computes_them(loudness: float) -> None:
    audio = noise(10 * 16_000, loudness)
    assert torch.equal(log_mel_spectrogram(audio, 80, N_SAMPLES), whispers_own(audio, 80, N_SAMPLES))


def test_a_burst_amid_silence_sets_the_floor_of_all_blocks() -> None:
    audio = np.zeros(60 * 16_000, np.float32)
    audio[500_000:500_400] = 0.9
    audio[100:900] = 1e-4
    assert torch.equal(log_mel_spectrogram(audio, 80, N_SAMPLES), whispers_own(audio, 80, N_SAMPLES))


def test_a_tensor_is_taken_like_an_array_and_neither_is_changed() -> None:
    audio = noise(50_000)
    original = audio.copy()
    from_array = log_mel_spectrogram(audio, 80, N_SAMPLES)
    assert torch.equal(log_mel_spectrogram(torch.from_numpy(audio), 80, N_SAMPLES), from_array)
    assert np.array_equal(audio, original)


@pytest.mark.parametrize("audio", [noise(48_000), torch.from_numpy(noise(48_000)).reshape(2, -1)])
def test_arguments_that_transcribe_never_passes_go_to_whispers_own_function(audio: Any) -> None:
    padding = 0 if audio.ndim == 1 else N_SAMPLES
    assert torch.equal(log_mel_spectrogram(audio, 80, padding), whispers_own(audio, 80, padding))


def test_only_a_thread_that_transcribes_with_a_proxy_computes_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int]] = []
    monkeypatch.setattr(spectrogram, "log_mel_spectrogram", _recorded(calls, "in blocks", log_mel_spectrogram))
    monkeypatch.setattr(whisper.audio, "log_mel_spectrogram", _recorded(calls, "at once", whispers_own))
    other = threading.Thread(target=_transcribe_plainly)

    def at_the_first_window(_: float) -> None:
        other.start()
        other.join()
        raise FirstWindow

    session: Any = SimpleNamespace(dims=ModelDims(**vars(DIMENSIONS)), precision="float32")
    with pytest.raises(FirstWindow):
        proxy.transcribe(session, noise(16_000), at_the_first_window, language="en")
    assert calls == [("in blocks", threading.get_ident()), ("at once", other.ident)]


def _transcribe_plainly() -> None:
    """Transcribe without a proxy, on a model that raises as soon as it decodes."""

    def decode(*_: object) -> None:
        raise FirstWindow

    plain: Any = SimpleNamespace(
        dims=DIMENSIONS, is_multilingual=True, num_languages=99, device=torch.device("cpu", 0), decode=decode
    )
    with pytest.raises(FirstWindow):
        whisper.transcribe(plain, noise(16_000), language="en", fp16=False)


def _recorded(calls: list[tuple[str, int]], name: str, compute: Callable[..., Any]) -> Callable[..., Any]:
    """Return `compute`, but append the name and the calling thread to `calls` at every call."""

    def recorded(*args: Any, **options: Any) -> Any:
        calls.append((name, threading.get_ident()))
        return compute(*args, **options)

    return recorded
