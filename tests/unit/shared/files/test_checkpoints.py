"""The dimensions of a checkpoint are read without torch, without trust, and without blocking."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from whisper_fleet.shared.errors import ModelNotAllowed, ModelUnavailable, UnknownModel
from whisper_fleet.shared.files.checkpoints import resolve
from whisper_fleet.shared.models import MODELS, ModelDims, parameters

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


def save(path: Path, dims: ModelDims = TINY) -> Path:
    """Write a checkpoint that is large enough for its dimensions."""
    weights = {"decoder.ln.weight": torch.nn.Parameter(torch.ones(parameters(dims) // 2 + 1).half())}
    torch.save({"dims": asdict(dims), "model_state_dict": weights}, path)
    return path


def test_a_checkpoint_tells_its_dimensions(tmp_path: Path) -> None:
    assert resolve(str(save(tmp_path / "mine.pt")), tmp_path) == TINY


def test_an_official_model_needs_no_file() -> None:
    assert resolve("turbo", Path("/m")) == MODELS["large-v3-turbo"]


def test_a_checkpoint_that_is_replaced_is_read_again(tmp_path: Path) -> None:
    path = save(tmp_path / "mine.pt")
    resolve(str(path), tmp_path)
    save(path, replace(TINY, n_text_layer=7))
    assert resolve(str(path), tmp_path).n_text_layer == 7


def test_a_checkpoint_is_below_the_model_directory_or_one_of_the_roots(tmp_path: Path) -> None:
    models, root = tmp_path / "models", tmp_path / "root"
    for folder in (models, root):
        folder.mkdir()
        save(folder / "mine.pt")
    assert resolve(str(models / "mine.pt"), models) == TINY
    assert resolve(str(root / "mine.pt"), models, (root,)) == TINY
    (models / "link.pt").symlink_to(root / "mine.pt")
    for path in (root / "mine.pt", root / "missing.pt", models / "link.pt", Path("/etc/passwd"), Path("/dev/zero")):
        with pytest.raises(ModelNotAllowed, match=rf"^{path} is outside .* WHISPER_FLEET_MODEL_ROOTS\.$"):
            resolve(str(path), models)


def test_a_checkpoint_that_claims_more_than_a_model_can_have_is_not_built(tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    torch.save({"dims": {**asdict(TINY), "n_text_layer": 20_000}, "model_state_dict": {}}, path)
    with pytest.raises(ModelUnavailable, match="n_text_layer is 20000"):
        resolve(str(path), tmp_path)
    torch.save({"dims": asdict(TINY), "model_state_dict": {}}, path)
    with pytest.raises(ModelUnavailable, match="cannot hold"):
        resolve(str(path), tmp_path)


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


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.mkdir()


def _endless(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


def _directory_that_claims_a_gigabyte(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**31)
        file.seek(2**31)
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 2**30, 2**30, 0))


def _zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(64 * 2**20))


def _true_dims(path: Path) -> None:
    torch.save({"dims": {**asdict(TINY), "n_audio_layer": True}}, path)


def _missing_dims(path: Path) -> None:
    torch.save({"dims": {"n_mels": 80}}, path)


@pytest.mark.parametrize(
    "make",
    [
        _not_there, _text, _empty_zip, _torn_pickle, _other_contents, _wrong_dims, _missing_dims, _true_dims, _fifo,
        _folder, _endless, _directory_that_claims_a_gigabyte, _zip_bomb,
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_unavailable(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    make(path)
    with pytest.raises(ModelUnavailable, match=rf"^The model {path} cannot be loaded: "):
        resolve(str(path), tmp_path)
