"""The catalogue knows whisper's dimensions, and reads a checkpoint's without torch and without trust."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import whisper
from whisper.model import AudioEncoder, TextDecoder

from whisper_fleet.shared.errors import ModelUnavailable, UnknownModel
from whisper_fleet.shared.models import (
    MODELS,
    ModelDims,
    checkpoint_path,
    decoder_parameters,
    encoder_parameters,
    parameters,
    resolve,
)

TINY = ModelDims(
    n_mels=80,
    n_vocab=51865,
    n_audio_ctx=1500,
    n_audio_state=64,
    n_audio_head=2,
    n_audio_layer=1,
    n_text_ctx=448,
    n_text_state=64,
    n_text_head=2,
    n_text_layer=3,
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
    assert resolve("turbo", Path("/m")) == MODELS["large-v3-turbo"]


def test_a_checkpoint_tells_its_dimensions(tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    weights = {"decoder.ln.weight": torch.nn.Parameter(torch.ones(64).half())}
    torch.save({"dims": asdict(TINY), "model_state_dict": weights}, path)
    assert resolve(str(path), tmp_path) == TINY


def test_a_checkpoint_that_is_replaced_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    torch.save({"dims": asdict(TINY)}, path)
    resolve(str(path), tmp_path)
    torch.save({"dims": {**asdict(TINY), "n_text_layer": 7}, "model_state_dict": {}}, path)
    assert resolve(str(path), tmp_path).n_text_layer == 7


@pytest.mark.parametrize("name", ["huge", "", "../base.pt", "models/base.pt"])
def test_other_names_are_unknown(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"use one of tiny\.en, tiny"):
        resolve(name, tmp_path)


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_a_checkpoint_never_runs_code(tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.pt", tmp_path / "was_here"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps({"dims": asdict(TINY), "x": Malicious(marker)}))
    with pytest.raises(ModelUnavailable, match="it wants to run"):
        resolve(str(path), tmp_path)
    assert not marker.exists()


def _not_there(path: Path) -> None:
    pass


def _text(path: Path) -> None:
    path.write_text("hello")


def _empty_zip(path: Path) -> None:
    zipfile.ZipFile(path, "w").close()


def _torn_pickle(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({"dims": asdict(TINY)})[:-20])


def _other_contents(path: Path) -> None:
    torch.save([1, 2, 3], path)


def _wrong_dims(path: Path) -> None:
    torch.save({"dims": {**asdict(TINY), "n_mels": "80"}}, path)


def _missing_dims(path: Path) -> None:
    torch.save({"dims": {"n_mels": 80}}, path)


@pytest.mark.parametrize(
    "make", [_not_there, _text, _empty_zip, _torn_pickle, _other_contents, _wrong_dims, _missing_dims]
)
def test_what_is_no_checkpoint_is_unavailable(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    make(path)
    with pytest.raises(ModelUnavailable, match=rf"^The model {path} cannot be loaded: "):
        resolve(str(path), tmp_path)
