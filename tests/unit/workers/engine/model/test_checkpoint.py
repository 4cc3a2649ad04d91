"""The engine opens a checkpoint only if it is what it claims, and says at once what is wrong with any other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from whisper_fleet.shared.errors import ModelUnavailable
from whisper_fleet.workers.engine.model.checkpoint import open_checkpoint


@pytest.fixture
def content(tiny_model: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(tiny_model, weights_only=True)
    return loaded


def test_a_checkpoint_is_opened_by_its_path_and_through_the_operators_link(tiny_model: Path, tmp_path: Path) -> None:
    assert open_checkpoint(str(tiny_model), tiny_model.parent).dims.n_text_layer == 2
    assert open_checkpoint(str(tiny_model), tmp_path, (tiny_model.parent,)).dims.n_text_layer == 2
    (tmp_path / "base.pt").symlink_to(tiny_model)
    with pytest.raises(ModelUnavailable, match=r"dimensions in base\.pt are not those of base"):
        open_checkpoint("base", tmp_path)  # it was read
    for path in (tiny_model, tmp_path / "base.pt"):  # a client's path may not lead out
        with pytest.raises(ModelUnavailable, match="WHISPER_FLEET_MODEL_ROOTS"):
            open_checkpoint(str(path), tmp_path)


def _with(**weights: Any) -> Callable[[dict[str, Any]], Any]:
    named = {name.replace("__", "."): weight for name, weight in weights.items()}
    return lambda content: {**content, "model_state_dict": {**content["model_state_dict"], **named}}


def _claiming(**dims: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: {**content, "dims": {**content["dims"], **dims}}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_with(decoder__ln__weight="a text"), "more than tensors"),
        (_with(decoder__ln__weight=None), "more than tensors"),
        (_with(decoder__ln__weight=[1.0] * 64), "more than tensors"),
        (_with(decoder__ln__weight=torch.ones(64, dtype=torch.int64)), "more than tensors"),
        (_with(decoder__ln__weight=torch.ones(64).to_sparse()), "more than tensors"),
        (_with(decoder__ln__weight=torch.ones(65)), r"do not fit its dimensions; .* decoder\.ln\.weight"),
        (_with(another=torch.ones(64)), "the first of them is another"),
        (lambda content: {**content, "model_state_dict": {1: torch.ones(4_000_000)}}, "do not fit its dimensions"),
        (lambda content: {**content, "model_state_dict": torch.ones(4_000_000)}, "more than tensors"),
        (lambda content: {"dims": content["dims"], "state": content["model_state_dict"]}, "not a checkpoint"),
        (_claiming(n_text_layer=20_000), "n_text_layer is 20000"),
        (_claiming(n_audio_state=2048, n_text_state=2048), "cannot hold the"),
        (_claiming(n_text_layer=3), "do not fit its dimensions"),
        (_claiming(n_vocab="many"), "not whole numbers"),
        (_claiming(extra=1), "not whole numbers"),
    ],
)
def test_a_checkpoint_that_is_not_what_it_claims_is_unavailable_at_once(
    change: Callable[[dict[str, Any]], Any], reason: str, content: dict[str, Any], tmp_path: Path
) -> None:
    torch.save(change(content), tmp_path / "own.pt")
    started = time.monotonic()
    with pytest.raises(ModelUnavailable, match=rf"^The model {tmp_path}/own\.pt cannot be loaded: .*{reason}"):
        open_checkpoint(str(tmp_path / "own.pt"), tmp_path)
    assert time.monotonic() - started < 20  # and not the minutes of what it claims


def test_neither_a_fifo_nor_a_device_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "own.pt")
    os.mkfifo(tmp_path / "base.pt")
    for model in (str(tmp_path / "own.pt"), "base"):
        with pytest.raises(ModelUnavailable, match="not a regular file"):
            open_checkpoint(model, tmp_path)
    with pytest.raises(ModelUnavailable, match="not a regular file"):
        open_checkpoint("/dev/zero", Path("/dev"))
