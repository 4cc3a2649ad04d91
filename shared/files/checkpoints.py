"""Reads the dimensions of checkpoints: without torch, and without trust in the file."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from whisper_fleet.shared.errors import ModelNotAllowed, ModelUnavailable
from whisper_fleet.shared.files.opening import NotRegularFile, OutsideRoots, open_regular_file
from whisper_fleet.shared.models import MODELS, ModelDims, checkpoint_path, problem_with

#: A damaged pickle, or one of another program, fails with any of these.
_PICKLE_ERRORS = (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError)
#: The largest official checkpoint's pickle has 0.2 MB; a larger one than this is not a checkpoint.
_READ_LIMIT_BYTES = 4 * 2**20


def resolve(name: str, model_dir: Path, more_roots: Sequence[Path] = ()) -> ModelDims:
    """Return the dimensions of an official model (its file need not exist) or of a checkpoint at an absolute path.

    Raises UnknownModel for any other name, ModelNotAllowed for a path outside `model_dir` and `more_roots`, and
    ModelUnavailable for a checkpoint that cannot be used.
    """
    if name in MODELS:
        return MODELS[name]
    path = str(checkpoint_path(name, model_dir))
    with opened_checkpoint(name, path, (model_dir, *more_roots)) as descriptor:
        return _known_dims(path, descriptor)


def dims_in(path: Path) -> ModelDims:
    """Return the dimensions of a checkpoint that the operator named, wherever it is; raises ModelUnavailable."""
    with opened_checkpoint(str(path), str(path.absolute())) as descriptor:
        return read_dims(str(path), descriptor)


@contextlib.contextmanager
def opened_checkpoint(model: str, path: str, roots: Sequence[Path] = ()) -> Iterator[int]:
    """Yield a descriptor of a checkpoint's file; raises ModelNotAllowed or ModelUnavailable."""
    try:
        descriptor = open_regular_file(path, roots)
    except OutsideRoots:
        raise ModelNotAllowed(model=model, roots=", ".join(map(str, roots))) from None
    except NotRegularFile:
        raise ModelUnavailable(model=model, reason=f"{path} is not a regular file") from None
    except (OSError, ValueError) as error:
        raise ModelUnavailable(model=model, reason=getattr(error, "strerror", None) or str(error)) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_dims(model: str, descriptor: int) -> ModelDims:
    """Read the dimensions of an open checkpoint; raises ModelUnavailable for any that no Whisper model can have."""
    try:
        with _LimitedFile(descriptor, closefd=False) as file, zipfile.ZipFile(file) as archive:
            pickled = _pickle_of(archive)
        checkpoint = _TensorFreeUnpickler(io.BytesIO(pickled)).load()
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ModelUnavailable(model=model, reason=f"no torch checkpoint in zip format ({error})") from error
    except _PICKLE_ERRORS as error:
        raise ModelUnavailable(model=model, reason=f"it holds more than tensors ({error})") from error
    return _dims_of(checkpoint, model, os.fstat(descriptor).st_size)


#: By the path and identity of the file; the dispatcher's fallback and intake ask for the same few checkpoints.
_KNOWN: OrderedDict[tuple[str, int, int, int, int], ModelDims] = OrderedDict()
_MOST_KNOWN = 64


def _known_dims(path: str, descriptor: int) -> ModelDims:
    """Read the dimensions only if the file is new or has changed."""
    status = os.fstat(descriptor)
    identity = (path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    dims = _KNOWN.get(identity)
    if dims is None:
        dims = _KNOWN[identity] = read_dims(path, descriptor)
        while len(_KNOWN) > _MOST_KNOWN:
            _KNOWN.popitem(last=False)
    return dims


class _LimitedFile(io.FileIO):
    """A file of which no caller reads much at once: sizes in a zip file are claims, and memory is taken for them."""

    def read(self, size: int | None = -1, /) -> bytes:
        is_small = size is not None and 0 <= size <= _READ_LIMIT_BYTES
        data = super().read(size if is_small else _READ_LIMIT_BYTES + 1) or b""
        if len(data) > _READ_LIMIT_BYTES:
            raise zipfile.BadZipFile("its directory is too large")
        return data


def _pickle_of(archive: zipfile.ZipFile) -> bytes:
    entry = next((entry for entry in archive.infolist() if entry.filename.endswith("data.pkl")), None)
    if entry is None or max(entry.file_size, entry.compress_size) > _READ_LIMIT_BYTES:
        raise zipfile.BadZipFile("no data.pkl of a sensible size in it")
    return archive.read(entry)


def _dims_of(checkpoint: object, path: str, file_bytes: int) -> ModelDims:
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("dims"), dict):
        raise ModelUnavailable(model=path, reason="it holds no `dims`: save it as openai-whisper does")
    dims = checkpoint["dims"]
    wanted = {field.name for field in fields(ModelDims)}
    if set(dims) != wanted or not all(type(value) is int and value > 0 for value in dims.values()):
        raise ModelUnavailable(model=path, reason=f"its `dims` are not whole numbers for {sorted(wanted)}")
    claimed = ModelDims(**dims)
    if problem := problem_with(claimed, file_bytes):
        raise ModelUnavailable(model=path, reason=problem)
    return claimed


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
