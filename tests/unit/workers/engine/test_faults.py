"""A shortage of memory is told from a fault, and a lost device from a fault of a window."""

from __future__ import annotations

import pytest
import torch

from whisper_fleet.shared.errors import EngineOutOfMemory, EngineRequestInvalid
from whisper_fleet.workers.engine.faults import is_device_lost, is_shortage


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), True),
        (EngineOutOfMemory(what="more slots"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (EngineRequestInvalid(reason="best_of"), False),
    ],
)
def test_a_shortage_is_told_from_a_fault(error: Exception, short: bool) -> None:
    assert is_shortage(error) is short


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("the sizes of two tensors differ"), False),
        (EngineRequestInvalid(reason="CUDA"), False),
    ],
)
def test_a_lost_device_is_told_from_a_fault(error: Exception, lost: bool) -> None:
    assert is_device_lost(error) is lost
