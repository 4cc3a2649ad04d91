"""Finds and opens Whisper checkpoints, and says in a sentence why one cannot be opened."""

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
from whisper.model import AudioEncoder, ModelDimensions, TextDecoder

from whisper_fleet.shared.errors import ModelUnavailable, UnknownModel
from whisper_fleet.shared.models import MODELS, checkpoint_path


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint's content, on the CPU."""

    name: str
    dims: ModelDimensions
    weights: dict[str, Tensor]  # whisper's own names
    alignment_heads: tuple[tuple[int, int], ...]  # (layer, head)


def open_checkpoint(model: str, model_dir: Path) -> Checkpoint:
    """The checkpoint of a model, by name or absolute path; ModelUnavailable says what is wrong."""
    path = _find(model, model_dir)
    content = _read(model, path)
    dims = _dims(model, content)
    weights = content["model_state_dict"]
    _check_weights(model, dims, weights)
    return Checkpoint(name=model, dims=dims, weights=weights, alignment_heads=alignment_heads(model, dims))


def alignment_heads(model: str, dims: ModelDimensions) -> tuple[tuple[int, int], ...]:
    """The heads that whisper aligns words with: from its table, else the upper half of the layers."""
    if model in whisper._ALIGNMENT_HEADS:
        packed = gzip.decompress(base64.b85decode(whisper._ALIGNMENT_HEADS[model]))
        mask = np.frombuffer(packed, dtype=bool).reshape(dims.n_text_layer, dims.n_text_head)
    else:
        mask = np.zeros((dims.n_text_layer, dims.n_text_head), dtype=bool)
        mask[dims.n_text_layer // 2 :] = True
    return tuple((int(layer), int(head)) for layer, head in np.argwhere(mask))


def _find(model: str, model_dir: Path) -> Path:
    try:
        path = checkpoint_path(model, model_dir)
    except UnknownModel as error:
        raise ModelUnavailable(model=model, reason=str(error)) from error
    if not path.is_file():
        fetch = f"python -c \"import whisper; whisper.load_model('{model}')\""
        fix = f"; fetch it with `{fetch}`" if model in MODELS else ""
        raise ModelUnavailable(model=model, reason=f"{path} does not exist on this machine{fix}")
    return path


def _read(model: str, path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = f"{path} is truncated or no checkpoint ({str(error).splitlines()[0]})"
        raise ModelUnavailable(model=model, reason=reason) from error
    if not isinstance(content, dict) or not {"dims", "model_state_dict"} <= content.keys():
        raise ModelUnavailable(model=model, reason=f"{path} is no checkpoint of openai-whisper")
    return content


def _dims(model: str, content: dict[str, Any]) -> ModelDimensions:
    try:
        return ModelDimensions(**content["dims"])
    except TypeError as error:
        raise ModelUnavailable(model=model, reason=f"its dimensions are not Whisper's ({error})") from error


def _check_weights(model: str, dims: ModelDimensions, weights: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        encoder = AudioEncoder(dims.n_mels, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer)
        decoder = TextDecoder(dims.n_vocab, dims.n_text_ctx, dims.n_text_state, dims.n_text_head, dims.n_text_layer)
    whole = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
    expected = {name: tuple(tensor.shape) for name, tensor in whole.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        reason = f"{len(wrong)} of its weights do not fit its dimensions, {wrong[0]} is the first"
        raise ModelUnavailable(model=model, reason=reason)
