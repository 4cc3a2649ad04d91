"""The conversion of CTranslate2's Whisper arrays to openai-whisper's checkpoint: the same float16 numbers, renamed.

CTranslate2 fuses query, key and value of self-attention, and key and value of cross-attention, into one linear map. It
also gives keys a bias of zeros, while openai-whisper's keys have none.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whisper_fleet.shared.errors import ModelUnavailable
from whisper_fleet.workers.weights.ct2 import Array

_AUDIO_CONTEXT = 1500
_TEXT_CONTEXT = 448
_HEAD_WIDTH = 64  # in every Whisper model


def to_openai(arrays: dict[str, Array]) -> dict[str, Any]:
    """Return the content of a checkpoint that `whisper.load_model` reads: `dims` and `model_state_dict`.

    Raises ModelUnavailable if an array is not float16, or if a key has a bias other than zeros.
    """
    weights = _Weights(arrays)
    layers = {side: _layers(arrays, side) for side in ("encoder", "decoder")}
    for side, count in layers.items():
        for layer in range(count):
            weights.block(side, layer)
    weights.linear("encoder.conv1", "encoder/conv1")
    weights.linear("encoder.conv2", "encoder/conv2")
    weights.norm("encoder.ln_post", "encoder/layer_norm")
    weights.norm("decoder.ln", "decoder/layer_norm")
    weights.copy("encoder.positional_embedding", "encoder/position_encodings/encodings")
    weights.copy("decoder.positional_embedding", "decoder/position_encodings/encodings")
    weights.copy("decoder.token_embedding.weight", "decoder/embeddings/weight")
    return {"dims": _dims(weights.state, layers), "model_state_dict": weights.state}


def _layers(arrays: dict[str, Array], side: str) -> int:
    """Return the number of `layer_<n>` on a side, not counting the final `layer_norm`."""
    return len({name.split("/")[1] for name in arrays if re.match(rf"{side}/layer_\d+/", name)})


def _dims(state: dict[str, Tensor], layers: dict[str, int]) -> dict[str, int]:
    vocabulary, width = state["decoder.token_embedding.weight"].shape
    return {
        "n_mels": state["encoder.conv1.weight"].shape[1],
        "n_audio_ctx": _AUDIO_CONTEXT,
        "n_audio_state": width,
        "n_audio_head": width // _HEAD_WIDTH,
        "n_audio_layer": layers["encoder"],
        "n_vocab": vocabulary,
        "n_text_ctx": _TEXT_CONTEXT,
        "n_text_state": width,
        "n_text_head": width // _HEAD_WIDTH,
        "n_text_layer": layers["decoder"],
    }


class _Weights:
    """The state of the checkpoint while it is built; methods take openai-whisper's name, then CTranslate2's."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        self._arrays = arrays
        self.state: dict[str, Tensor] = {}

    def block(self, side: str, layer: int) -> None:
        """Convert a transformer block."""
        source, target = f"{side}/layer_{layer}", f"{side}.blocks.{layer}"
        self.attention(f"{target}.attn", f"{source}/self_attention")
        self.norm(f"{target}.attn_ln", f"{source}/self_attention/layer_norm")
        if side == "decoder":
            self.cross_attention(f"{target}.cross_attn", f"{source}/attention")
            self.norm(f"{target}.cross_attn_ln", f"{source}/attention/layer_norm")
        self.norm(f"{target}.mlp_ln", f"{source}/ffn/layer_norm")
        self.linear(f"{target}.mlp.0", f"{source}/ffn/linear_0")
        self.linear(f"{target}.mlp.2", f"{source}/ffn/linear_1")

    def attention(self, target: str, source: str) -> None:
        self._split(target, f"{source}/linear_0", ("query", "key", "value"))
        self.linear(f"{target}.out", f"{source}/linear_1")

    def cross_attention(self, target: str, source: str) -> None:
        self.linear(f"{target}.query", f"{source}/linear_0")
        self._split(target, f"{source}/linear_1", ("key", "value"))
        self.linear(f"{target}.out", f"{source}/linear_2")

    def linear(self, target: str, source: str) -> None:
        self.copy(f"{target}.weight", f"{source}/weight")
        self.copy(f"{target}.bias", f"{source}/bias")

    def norm(self, target: str, source: str) -> None:
        self.copy(f"{target}.weight", f"{source}/gamma")
        self.copy(f"{target}.bias", f"{source}/beta")

    def copy(self, target: str, source: str) -> None:
        self._add(target, self._arrays[source])

    def _split(self, target: str, source: str, names: tuple[str, ...]) -> None:
        """Split a fused linear map into its parts."""
        weights = np.split(self._arrays[f"{source}/weight"], len(names))
        biases = np.split(self._arrays[f"{source}/bias"], len(names))
        for name, weight, bias in zip(names, weights, biases, strict=True):
            self._add(f"{target}.{name}.weight", weight)
            if name != "key":
                self._add(f"{target}.{name}.bias", bias)
            elif bias.any():
                raise ModelUnavailable(model="base", reason=f"{source} has a key bias, but Whisper has none")

    def _add(self, target: str, array: Array) -> None:
        if array.dtype != np.float16:
            raise ModelUnavailable(model="base", reason=f"{target} is {array.dtype}, not float16")
        self.state[target] = torch.from_numpy(array.copy())
