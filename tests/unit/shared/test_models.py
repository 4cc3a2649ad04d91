"""The catalogue knows whisper's dimensions, and which dimensions no Whisper model can have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import whisper
from whisper.model import AudioEncoder, TextDecoder

from whisper_fleet.shared.models import (
    MODELS,
    checkpoint_path,
    decoder_parameters,
    encoder_parameters,
    parameters,
    problem_with,
)


def test_every_model_of_whisper_is_known() -> None:
    assert sorted(MODELS) == sorted(whisper.available_models())


@pytest.mark.parametrize("name", list(MODELS))
def test_parameters_are_counted_as_whisper_builds_them(name: str) -> None:
    d = MODELS[name]
    with torch.device("meta"):
        encoder = AudioEncoder(d.n_mels, d.n_audio_ctx, d.n_audio_state, d.n_audio_head, d.n_audio_layer)
        decoder = TextDecoder(d.n_vocab, d.n_text_ctx, d.n_text_state, d.n_text_head, d.n_text_layer)
    assert encoder_parameters(d) == sum(parameter.numel() for parameter in encoder.parameters())
    assert decoder_parameters(d) == sum(parameter.numel() for parameter in decoder.parameters())
    assert parameters(d) == encoder_parameters(d) + decoder_parameters(d)


@pytest.mark.parametrize("name", list(MODELS))
def test_english_models_are_the_only_ones_with_one_language(name: str) -> None:
    assert MODELS[name].is_multilingual is not name.endswith(".en")


def test_aliases_share_a_checkpoint() -> None:
    assert checkpoint_path("large", Path("/m")) == Path("/m/large-v3.pt")
    assert checkpoint_path("turbo", Path("/m")) == Path("/m/large-v3-turbo.pt")


BASE = MODELS["base"]


@pytest.mark.parametrize("name", list(MODELS))
def test_every_official_model_is_within_the_bounds(name: str) -> None:
    assert problem_with(MODELS[name], 2 * parameters(MODELS[name])) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n_text_layer": 20_000}, "n_text_layer is 20000, and Whisper's is 1 to 128"),
        ({"n_audio_layer": 129}, "n_audio_layer"),
        ({"n_audio_state": 2**40, "n_text_state": 2**40}, "n_audio_state"),
        ({"n_vocab": 2**31}, "n_vocab"),
        ({"n_vocab": 100}, "n_vocab"),
        ({"n_audio_ctx": 1501}, "n_audio_ctx"),
        ({"n_text_ctx": 10**6}, "n_text_ctx"),
        ({"n_mels": 81}, "n_mels is 81, and Whisper's is one of"),
        ({"n_audio_head": 7}, "heads do not divide"),
        ({"n_text_head": 7}, "heads do not divide"),
        ({"n_text_state": 1024}, "differ"),
        ({}, "its 1,500 bytes cannot hold the 71,825,920 weights that its dims claim"),
    ],
)
def test_what_no_whisper_model_can_be_is_named(changes: dict[str, int], reason: str) -> None:
    problem = problem_with(replace(BASE, **changes), 1_500)
    assert problem is not None
    assert reason in problem
