"""Whisper checkpoints: finding one, opening it, and the reason if it cannot be used."""

from __future__ import annotations

import base64
import gzip
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import whisper
from torch import Tensor, nn
from whisper.model import AudioEncoder, TextDecoder

from whisper_fleet.shared.errors import ModelNotAllowed, ModelUnavailable, UnknownModel
from whisper_fleet.shared.files.checkpoints import opened_checkpoint, read_dims
from whisper_fleet.shared.models import MODELS, ModelDims, checkpoint_path


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The content of a checkpoint, in host memory (mapped from its file)."""

    name: str
    dims: ModelDims
    weights: dict[str, Tensor]  # under the names that whisper gives them
    alignment_heads: tuple[tuple[int, int], ...]  # (layer, head)


def open_checkpoint(model: str, model_dir: Path, more_roots: Sequence[Path] = ()) -> Checkpoint:
    """Open the checkpoint of a model, given by name or by an absolute path below `model_dir` or `more_roots`.

    Raises ModelUnavailable, with the reason, if there is no usable checkpoint.
    """
    try:
        path = checkpoint_path(model, model_dir)
        _check_present(model, path)
        # An official model is where the operator put it, perhaps by a link; any other path came from a client.
        roots = () if model in MODELS else (model_dir, *more_roots)
        with opened_checkpoint(model, str(path.absolute()), roots) as descriptor:
            dims = read_dims(model, descriptor)  # bounded, before torch or anything of its size is involved
            weights = _read(model, Path(f"/proc/self/fd/{descriptor}"))
    except (UnknownModel, ModelNotAllowed) as error:
        raise ModelUnavailable(model=model, reason=str(error)) from error
    if dims != MODELS.get(model, dims):
        raise ModelUnavailable(model=model, reason=f"the dimensions in {path.name} are not those of {model}")
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


def _check_present(model: str, path: Path) -> None:
    if model in MODELS and not path.exists():
        command = Path(sys.executable).with_name("whisper-fleet")  # perhaps of an environment that is not active
        call = f"{command if command.exists() else command.name} fetch {model}"
        fix = f"fetch it there with `WHISPER_FLEET_MODEL_DIR={shlex.quote(str(path.parent.absolute()))} {call}`"
        reason = f"the model directory {path.parent} of this machine has no {path.name}; {fix}"
        raise ModelUnavailable(model=model, reason=reason)


def _read(model: str, path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        weights = content["model_state_dict"]
    except MemoryError:
        raise
    except Exception as error:  # of any type: the file decides what goes wrong in the unpickler
        reason = f"it is truncated or not a checkpoint of openai-whisper ({(str(error).splitlines() or [''])[0]})"
        raise ModelUnavailable(model=model, reason=reason) from error
    if not isinstance(weights, dict) or not all(map(_is_weight, weights.values())):
        raise ModelUnavailable(model=model, reason="its model_state_dict holds more than tensors of numbers")
    return weights


def _is_weight(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.layout is torch.strided


def _check_weights(model: str, dims: ModelDims, weights: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        encoder = AudioEncoder(dims.n_mels, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer)
        decoder = TextDecoder(dims.n_vocab, dims.n_text_ctx, dims.n_text_state, dims.n_text_head, dims.n_text_layer)
    model_parts = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
    expected = {name: tuple(tensor.shape) for name, tensor in model_parts.state_dict().items()}
    actual = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = sorted(str(name) for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name))
    if wrong:
        reason = f"{len(wrong)} of its weights do not fit its dimensions; the first of them is {wrong[0]}"
        raise ModelUnavailable(model=model, reason=reason)
