"""The Whisper catalogue: name -> dimensions, for official models and local checkpoints, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from whisper_fleet.shared.errors import UnknownModel

#: The number format that a model's weights and activations have.
Precision = Literal["float16", "bfloat16", "float32"]
#: What cross-attention reads of an encoded window. cached: keys and values for every decoder layer; absorbed: the
#: encoder's output, which all layers share.
Form = Literal["cached", "absorbed"]
#: The form that a fleet is configured for; auto: `whisper_fleet.shared.memory.form_of` chooses it for the GPU.
CrossAttention = Literal["auto", "cached", "absorbed"]


@dataclass(frozen=True, kw_only=True)
class ModelDims:
    """The shape of a Whisper model, with whisper's own field names."""

    n_mels: int
    n_vocab: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int

    @property
    def is_multilingual(self) -> bool:
        return self.n_vocab >= 51865

    @property
    def num_languages(self) -> int:
        """Return the number of whisper's languages that the model has tokens for: the first ones of the list."""
        return self.n_vocab - 51765 - self.is_multilingual


def _dims(
    state: int, heads: int, layers: int, *, vocab: int = 51865, mels: int = 80, text_layers: int | None = None
) -> ModelDims:
    return ModelDims(
        n_mels=mels,
        n_vocab=vocab,
        n_audio_ctx=1500,
        n_audio_state=state,
        n_audio_head=heads,
        n_audio_layer=layers,
        n_text_ctx=448,
        n_text_state=state,
        n_text_head=heads,
        n_text_layer=layers if text_layers is None else text_layers,
    )


_ENGLISH = 51864
_V3 = 51866
_LARGE_V3 = _dims(1280, 20, 32, vocab=_V3, mels=128)
_TURBO = _dims(1280, 20, 32, vocab=_V3, mels=128, text_layers=4)

#: Every name that `whisper.load_model` knows.
MODELS: dict[str, ModelDims] = {
    "tiny.en": _dims(384, 6, 4, vocab=_ENGLISH),
    "tiny": _dims(384, 6, 4),
    "base.en": _dims(512, 8, 6, vocab=_ENGLISH),
    "base": _dims(512, 8, 6),
    "small.en": _dims(768, 12, 12, vocab=_ENGLISH),
    "small": _dims(768, 12, 12),
    "medium.en": _dims(1024, 16, 24, vocab=_ENGLISH),
    "medium": _dims(1024, 16, 24),
    "large-v1": _dims(1280, 20, 32),
    "large-v2": _dims(1280, 20, 32),
    "large-v3": _LARGE_V3,
    "large": _LARGE_V3,
    "large-v3-turbo": _TURBO,
    "turbo": _TURBO,
}

#: Multilingual models by the quality of their transcripts, for suggestions; only the latest large ones.
BEST_FIRST = ("large-v3", "turbo", "medium", "small", "base", "tiny")

_FILE_OF_ALIAS = {"large": "large-v3", "turbo": "large-v3-turbo"}

#: The least and the greatest of each dimension: what whisper's code requires, or several times the largest official
#: model. Whisper knows two spectrograms, and windows of 1,500 frames only.
_BOUNDS = {
    "n_vocab": (51_864, 65_536),
    "n_audio_ctx": (1500, 1500),
    "n_audio_state": (2, 4096),
    "n_audio_head": (1, 128),
    "n_audio_layer": (1, 128),
    "n_text_ctx": (2, 4096),
    "n_text_state": (2, 4096),
    "n_text_head": (1, 128),
    "n_text_layer": (1, 128),
}
_MELS = (80, 128)
_FEWEST_BYTES = 1  # per weight


def canonical(name: str) -> str:
    """Return the model's canonical name: `large` is large-v3, `turbo` is large-v3-turbo; others keep theirs."""
    return _FILE_OF_ALIAS.get(name, name)


def parameters(dims: ModelDims) -> int:
    """Return the number of trained parameters (the encoder's sinusoids are not trained)."""
    return encoder_parameters(dims) + decoder_parameters(dims)


def encoder_parameters(dims: ModelDims) -> int:
    a = dims.n_audio_state
    convolutions = 3 * a * dims.n_mels + a + 3 * a * a + a
    return convolutions + dims.n_audio_layer * (_attention(a) + _mlp(a)) + 2 * a


def decoder_parameters(dims: ModelDims) -> int:
    d = dims.n_text_state
    embeddings = (dims.n_vocab + dims.n_text_ctx) * d
    return embeddings + dims.n_text_layer * (2 * _attention(d) + _mlp(d)) + 2 * d


def _attention(width: int) -> int:
    """Count query, value and output with bias, key without, and the layer norm before them."""
    return 4 * width * width + 3 * width + 2 * width


def _mlp(width: int) -> int:
    """Count two linear layers over four times the width, and the layer norm before them."""
    return 8 * width * width + 5 * width + 2 * width


def checkpoint_path(name: str, model_dir: Path) -> Path:
    """Return where a model's checkpoint is or would be; UnknownModel for neither a name nor an absolute path."""
    if name in MODELS:
        return model_dir / f"{canonical(name)}.pt"
    if not Path(name).is_absolute():
        raise UnknownModel(name=name, known=", ".join(MODELS))
    return Path(name)


def problem_with(dims: ModelDims, file_bytes: int) -> str | None:
    """Return why a checkpoint of this size cannot be a Whisper model of these dimensions; None if it can.

    Nothing is built from dimensions before this check: a file of 1 KB may claim a million layers.
    """
    for name, (least, most) in _BOUNDS.items():
        if not least <= getattr(dims, name) <= most:
            return f"its {name} is {getattr(dims, name)}, and Whisper's is {least} to {most}"
    if dims.n_mels not in _MELS:
        return f"its n_mels is {dims.n_mels}, and Whisper's is one of {_MELS}"
    if dims.n_audio_state != dims.n_text_state:
        return "its n_audio_state and n_text_state differ, and its decoder cannot read its encoder"
    if dims.n_audio_state % dims.n_audio_head or dims.n_text_state % dims.n_text_head or dims.n_audio_state % 2:
        return "its heads do not divide its state"
    if file_bytes < parameters(dims) * _FEWEST_BYTES:
        return f"its {file_bytes:,} bytes cannot hold the {parameters(dims):,} weights that its dims claim"
    return None
