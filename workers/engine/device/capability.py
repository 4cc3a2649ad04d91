"""Which GPUs the fused kernels can be compiled for."""

from __future__ import annotations

import functools
import importlib.util

import torch


def capability(device: torch.device) -> tuple[int, int] | None:
    """Return a GPU's compute capability; None if no fused kernel serves the device: a CPU, or no Triton."""
    if device.type != "cuda" or not _has_triton():
        return None
    return torch.cuda.get_device_capability(device)


@functools.cache
def _has_triton() -> bool:
    """Look for Triton once: the engine's statistics need it at every heartbeat."""
    return importlib.util.find_spec("triton") is not None
