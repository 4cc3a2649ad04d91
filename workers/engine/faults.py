"""What an error means for the device: memory ran out, or the device is lost."""

from __future__ import annotations

from typing import Final

import torch

from whisper_fleet.shared.errors import EngineError, EngineOutOfMemory

_SHORTAGES: Final = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_shortage(error: BaseException) -> bool:
    """Return whether memory ran out, which leaves the device as good as it was."""
    if isinstance(error, EngineOutOfMemory | torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(shortage in str(error) for shortage in _SHORTAGES)


def is_device_lost(error: BaseException) -> bool:
    """Return whether an error that is not a shortage broke the CUDA context, so that nothing on the device is left."""
    return not isinstance(error, EngineError) and "CUDA" in str(error)
