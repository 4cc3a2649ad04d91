"""A stand-in for the model of `whisper.transcribe()` that decodes through the engine.

Whisper's code runs unmodified, window after window, in the thread of the slot. Three of its module globals are replaced
once. The replacements behave as before, unless they are called with a ProxyModel or by a thread that transcribes with
one.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from whisper.audio import FRAMES_PER_SECOND, TOKENS_PER_SECOND
from whisper.decoding import DecodingOptions, DecodingResult
from whisper.timing import WordTiming
from whisper.tokenizer import Tokenizer

import whisper
from whisper import timing
from whisper_fleet.workers.link.client import EngineSession
from whisper_fleet.workers.whisper import spectrogram
from whisper_fleet.workers.whisper.dtw import dtw

#: Called before every window with the seconds of audio that are done; an exception ends the transcription.
OnWindow = Callable[[float], None]
#: Called after every window with the text of the recording up to its end.
OnText = Callable[[str], None]
#: Called with the language that was detected and its probability; returns the language to transcribe in.
OnLanguage = Callable[[str, float], str]


class ProxyModel:
    """A stand-in for `whisper.model.Whisper` during one call of `transcribe`."""

    #: Not torch.device("cpu"), for which whisper warns about fp16, computes in fp32 and looks for CUDA.
    device = torch.device("cpu", 0)

    def __init__(
        self,
        session: EngineSession,
        on_window: OnWindow,
        on_language: OnLanguage | None = None,
        on_text: OnText | None = None,
    ) -> None:
        self.session = session
        self.dims = session.dims
        self.is_multilingual = session.dims.is_multilingual
        self.num_languages = session.dims.num_languages
        self._on_window = on_window
        self._on_language = on_language
        self._on_text = on_text
        self._seconds_done = 0.0
        self._texts: list[str] = []  # of whisper's segments so far

    def decode(self, mel: Tensor, options: DecodingOptions) -> DecodingResult:
        """Decode one window, mel [n_mels, 3000]; whisper calls this again for every fallback temperature."""
        self._on_window(self._seconds_done)
        return self.session.decode(mel, options)

    def detect_language(self, mel: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Detect the language of the first window, mel [n_mels, 3000]; see `EngineSession.detect_language`."""
        self._on_window(self._seconds_done)
        token, probabilities = self.session.detect_language(mel)
        if self._on_language is None:
            return token, probabilities
        detected = max(probabilities, key=probabilities.__getitem__)  # as whisper chooses
        language = self._on_language(detected, probabilities[detected])
        return token, probabilities if language == detected else {language: 1.0}

    def advance(self, frames: int, segments: Sequence[dict[str, Any]]) -> None:
        """Record that whisper has advanced by this many mel frames of 10 ms, and has these segments so far."""
        self._seconds_done += frames / FRAMES_PER_SECOND
        if self._on_text is not None and len(segments) > len(self._texts):
            self._texts += [segment["text"] for segment in segments[len(self._texts) :]]
            self._on_text("".join(self._texts))


def transcribe(
    session: EngineSession,
    audio: NDArray[np.float32],
    on_window: OnWindow,
    on_language: OnLanguage | None = None,
    on_text: OnText | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Transcribe audio, float32 samples [n] at 16 kHz, as `whisper.transcribe()` does, with its options and its result.

    `on_language` is called if whisper detects the language, and returns the one that it goes on with. `on_text` is
    called with the text so far. Raises what the session and these functions raise.
    """
    _install()
    model = ProxyModel(session, on_window, on_language, on_text)
    fixed: dict[str, Any] = {"verbose": None, "fp16": session.precision == "float16"}
    token = _transcribing.set(model)
    try:
        result: dict[str, Any] = whisper.transcribe(model, audio, **{**options, **fixed})
    finally:
        _transcribing.reset(token)
    return result


_transcribing: ContextVar[ProxyModel | None] = ContextVar("transcribing", default=None)
_installing = threading.Lock()
_whisper_find_alignment = timing.find_alignment


def _install() -> None:
    """Replace whisper's spectrogram, progress bar and alignment; it may be called repeatedly."""
    module: Any = sys.modules["whisper.transcribe"]  # in the package, the name is that of the function
    with _installing:
        module.log_mel_spectrogram = _log_mel_spectrogram
        module.tqdm = SimpleNamespace(tqdm=_Windows)
        timing.find_alignment = _find_alignment


def _log_mel_spectrogram(audio: Any, n_mels: int, padding: int) -> Tensor:
    """Compute the spectrogram in blocks if this thread transcribes with a ProxyModel, otherwise as whisper does."""
    if _transcribing.get() is not None:
        return spectrogram.log_mel_spectrogram(audio, n_mels, padding)
    mel: Tensor = whisper.audio.log_mel_spectrogram(audio, n_mels, padding)
    return mel


class _Windows:
    """A replacement for whisper's progress bar that reports progress to the proxy of the calling thread."""

    def __init__(self, **_: object) -> None:
        self._model = _transcribing.get()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: there is no bar to close."""

    def update(self, frames: int) -> None:
        if self._model is not None:
            self._model.advance(frames, _segments_of_caller())


def _segments_of_caller() -> Sequence[dict[str, Any]]:
    """Return the segments that whisper has so far: a local variable of `whisper.transcribe()`, which it passes nowhere.

    The caller is `_Windows.update`, and its caller is whisper, which updates its bar after it has the segments of a
    window.
    """
    segments: Sequence[dict[str, Any]] = sys._getframe(2).f_locals.get("all_segments", ())
    return segments


def _find_alignment(
    model: Any, tokenizer: Tokenizer, text_tokens: list[int], mel: Tensor, num_frames: int, **options: Any
) -> list[WordTiming]:
    """Return the words of a window with their times; the engine aligns the tokens for a ProxyModel.

    Source: `find_alignment` in whisper/timing.py.
    """
    if not isinstance(model, ProxyModel):
        return list(_whisper_find_alignment(model, tokenizer, text_tokens, mel, num_frames, **options))
    if not text_tokens:
        return []
    words, word_tokens = tokenizer.split_to_word_tokens([*text_tokens, tokenizer.eot])
    if len(word_tokens) <= 1:
        return []
    aligned = model.session.align(
        mel, text_tokens, num_frames, language=tokenizer.language, task=tokenizer.task, **options
    )
    return _word_timings(words, word_tokens, aligned.matrix, aligned.text_token_probs)


def _word_timings(
    words: list[str], word_tokens: list[list[int]], matrix: Tensor, token_probs: list[float]
) -> list[WordTiming]:
    """Return words with times from the alignment matrix [tokens, frames]: the second half of `find_alignment`."""
    text_indices, time_indices = dtw(-matrix.double().numpy())
    boundaries = np.pad(np.cumsum([len(tokens) for tokens in word_tokens[:-1]]), (1, 0))
    jumps = np.pad(np.diff(text_indices), (1, 0), constant_values=1).astype(bool)
    times = time_indices[jumps] / TOKENS_PER_SECOND
    spans = itertools.pairwise(boundaries)
    return [
        WordTiming(word, tokens, times[first], times[last], np.mean(token_probs[first:last]))
        for word, tokens, (first, last) in zip(words, word_tokens, spans, strict=False)
    ]
