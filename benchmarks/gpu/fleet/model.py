"""The checkpoint of random weights that the benchmark of the scheduler uses."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.support.random_weights import random_weights
from whisper_fleet.shared.models import MODELS

#: For the rehearsal: as small as a Whisper can be.
_STUB = replace(
    MODELS["tiny"], n_audio_state=64, n_audio_head=1, n_audio_layer=2, n_text_state=64, n_text_head=1, n_text_layer=2
)


def save_random_checkpoint(shape: str, path: Path, device: str) -> None:
    """A checkpoint in float16 of an official model's shape, or of `stub`, whose weights mean nothing."""
    dims = _STUB if shape == "stub" else MODELS[shape]
    weights = {name: value.cpu() for name, value in random_weights(dims, device).items()}
    torch.save({"dims": vars(dims), "model_state_dict": weights}, path)


def main() -> None:
    """Run in a separate process, so that the benchmark itself never holds a CUDA context."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("shape")
    parser.add_argument("path", type=Path)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    save_random_checkpoint(arguments.shape, arguments.path, device)


if __name__ == "__main__":
    main()
