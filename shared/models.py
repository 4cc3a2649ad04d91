"""The Whisper catalogue: name -> dimensions, for official models and local checkpoints, without torch."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from whisper_fleet.shared.errors import ModelUnavailable, UnknownModel

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

#: A damaged pickle, or one of another program, fails with any of these.
_PICKLE_ERRORS = (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError)
#: The largest official checkpoint's pickle has 0.2 MB; a larger one than this is not a checkpoint.
_PICKLE_LIMIT_BYTES = 16 * 2**20


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


def resolve(name: str, model_dir: Path) -> ModelDims:
    """Return the dimensions of an official model (its file need not exist) or of a checkpoint at an absolute path.

    Raises UnknownModel for any other name and ModelUnavailable for a checkpoint that cannot be used.
    """
    if name in MODELS:
        return MODELS[name]
    path = checkpoint_path(name, model_dir)
    try:
        stat = path.stat()
    except OSError as error:
        raise ModelUnavailable(model=name, reason=error.strerror or str(error)) from error
    return _read_dims(str(path), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _read_dims(path: str, _modified_ns: int, _size: int) -> ModelDims:
    """Read the dimensions of a checkpoint; its time and size are arguments so that the cache misses if it changes."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickled = _pickle_of(archive)
        checkpoint = _TensorFreeUnpickler(io.BytesIO(pickled)).load()
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelUnavailable(model=path, reason=f"no torch checkpoint in zip format ({error})") from error
    except _PICKLE_ERRORS as error:
        raise ModelUnavailable(model=path, reason=f"it holds more than tensors ({error})") from error
    return _dims_of(checkpoint, path)


def _pickle_of(archive: zipfile.ZipFile) -> bytes:
    entry = next((entry for entry in archive.infolist() if entry.filename.endswith("data.pkl")), None)
    if entry is None or entry.file_size > _PICKLE_LIMIT_BYTES:
        raise zipfile.BadZipFile("no data.pkl of a sensible size in it")
    return archive.read(entry)


def _dims_of(checkpoint: object, path: str) -> ModelDims:
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("dims"), dict):
        raise ModelUnavailable(model=path, reason="it holds no `dims`: save it as openai-whisper does")
    dims = checkpoint["dims"]
    wanted = {field.name for field in fields(ModelDims)}
    if set(dims) != wanted or not all(isinstance(value, int) and value > 0 for value in dims.values()):
        raise ModelUnavailable(model=path, reason=f"its `dims` are not whole numbers for {sorted(wanted)}")
    return ModelDims(**dims)


class _Inert:
    """Stand-in for every object that torch would build: accepts any arguments and does nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


class _TensorFreeUnpickler(pickle.Unpickler):
    """Reads the plain values of a checkpoint; imports and calls nothing that the file names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" or module.startswith("torch."):
            return _Inert
        raise pickle.UnpicklingError(f"it wants to run {module}.{name}")

    def persistent_load(self, _: object) -> object:
        return _Inert()
