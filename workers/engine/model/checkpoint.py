"""Whisper checkpoints: finding one, opening it, and the reason if it cannot be used."""

from __future__ import annotations

import base64
import gzip
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import whisper
from torch import Tensor, nn
from whisper.model import AudioEncoder, TextDecoder

from whisper_fleet.shared.errors import ModelUnavailable, UnknownModel
from whisper_fleet.shared.models import MODELS, ModelDims, checkpoint_path


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The content of a checkpoint, in host memory (mapped from its file)."""

    name: str
    dims: ModelDims
    weights: dict[str, Tensor]  # under the names that whisper gives them
    alignment_heads: tuple[tuple[int, int], ...]  # (layer, head)


def open_checkpoint(model: str, model_dir: Path) -> Checkpoint:
    """Open the checkpoint of a model, given by name or absolute path.

    Raises ModelUnavailable, with the reason, if there is no usable checkpoint.
    """
    path = _path_of(model, model_dir)
    content = _read(model, path)
    dims = _dims(model, content)
    weights = content["model_state_dict"]
    _check_weights(model, dims, weights)
    return Checkpoint(name=model, dims=dims, weights=weights, alignment_heads=alignment_heads(model, dims))


def alignment_heads(model: str, dims: ModelDims) -> tuple[tuple[int, int], ...]:
    """Return the (layer, head) pairs whose attention aligns words with the audio.

    Official models have a table (`_ALIGNMENT_HEADS` in whisper/__init__.py). Any other model uses all heads in the
    upper half of its layers, as `Whisper.__init__` does (whisper/model.py).
    """
    if model in whisper._ALIGNMENT_HEADS:
        packed = gzip.decompress(base64.b85decode(whisper._ALIGNMENT_HEADS[model]))
        mask = np.frombuffer(packed, dtype=bool).reshape(dims.n_text_layer, dims.n_text_head)
    else:
        mask = np.zeros((dims.n_text_layer, dims.n_text_head), dtype=bool)
        mask[dims.n_text_layer // 2 :] = True
    return tuple((int(layer), int(head)) for layer, head in np.argwhere(mask))


def _path_of(model: str, model_dir: Path) -> Path:
    try:
        path = checkpoint_path(model, model_dir)
    except UnknownModel as error:
        raise ModelUnavailable(model=model, reason=str(error)) from error
    if path.is_file():
        return path
    if model in MODELS:
        fix = f"fetch it with `whisper-fleet fetch {model}`"
        reason = f"the model directory {model_dir} of this machine has no {path.name}; {fix}"
    else:
        reason = f"{path} does not exist on this machine"
    raise ModelUnavailable(model=model, reason=reason)


def _read(model: str, path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = f"{path} is truncated or not a checkpoint ({str(error).splitlines()[0]})"
        raise ModelUnavailable(model=model, reason=reason) from error
    if not isinstance(content, dict) or not {"dims", "model_state_dict"} <= content.keys():
        raise ModelUnavailable(model=model, reason=f"{path} is not a checkpoint of openai-whisper")
    return content


def _dims(model: str, content: dict[str, Any]) -> ModelDims:
    try:
        return ModelDims(**content["dims"])
    except TypeError as error:
        raise ModelUnavailable(model=model, reason=f"its dimensions are not Whisper's ({error})") from error


def _check_weights(model: str, dims: ModelDims, weights: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        encoder = AudioEncoder(dims.n_mels, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer)
        decoder = TextDecoder(dims.n_vocab, dims.n_text_ctx, dims.n_text_state, dims.n_text_head, dims.n_text_layer)
    model_parts = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
    expected = {name: tuple(tensor.shape) for name, tensor in model_parts.state_dict().items()}
    actual = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = sorted(name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name))
    if wrong:
        reason = f"{len(wrong)} of its weights do not fit its dimensions; the first of them is {wrong[0]}"
        raise ModelUnavailable(model=model, reason=reason)
