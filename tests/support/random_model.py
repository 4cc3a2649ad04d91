"""The checkpoint of a very small Whisper with random weights, which talks nonsense, but always the same."""

from __future__ import annotations

from pathlib import Path

import torch
from whisper.model import ModelDimensions, Whisper


def save_random_model(path: Path) -> Path:
    """Write the checkpoint to `path` and return it."""
    torch.manual_seed(0)
    model = Whisper(ModelDimensions(80, 1500, 64, 1, 2, 51865, 448, 64, 1, 2))
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.1)
    torch.save({"dims": vars(model.dims), "model_state_dict": model.state_dict()}, path)
    return path
