"""Fixtures of the tests on a GPU. They use one GPU, which no other process should use meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import missing
from tests.support.in_process_engine import BASE, random_model


@pytest.fixture(autouse=True, scope="session")
def gpu() -> torch.device:
    """The GPU that the engine uses."""
    if not torch.cuda.is_available():
        missing("an NVIDIA GPU that torch can use")
    return torch.device("cuda", 0)


@pytest.fixture(scope="session")
def base_size(gpu: torch.device, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a model of base's size with random weights."""
    return random_model(tmp_path_factory.mktemp("models") / "base-size.pt", BASE, std=0.03)


@pytest.fixture
def no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without Triton: torch's own operations alone."""
    for module in ("device.device_model", "engine", "runner"):
        monkeypatch.setattr(f"whisper_fleet.workers.engine.{module}.capability", lambda _: None)
