"""Descriptions of tensors for Hopper's copy engine, and the sources that kernels of its products are compiled from."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

TYPES = {torch.float16: "f16", torch.bfloat16: "bf16"}
_TENSOR_MAP_TYPES = {torch.float16: 6, torch.bfloat16: 9}  # CU_TENSOR_MAP_DATA_TYPE_FLOAT16, _BFLOAT16
_SWIZZLE_128_BYTES, _PROMOTE_256_BYTES = 3, 3  # CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B
_HERE = Path(__file__).parent

TensorMap = ctypes.c_ubyte * 128


def source_of(name: str) -> str:
    """Return the source of a kernel in this package, with what it includes."""
    paths = (_HERE.parent / "ptx.cuh", _HERE / "hopper.cuh", _HERE / name)
    return "\n".join(path.read_text() for path in paths)


def is_hopper(device: torch.device) -> bool:
    """Return whether the device has the instructions that kernels in this package use; no later GPU has them."""
    return torch.cuda.get_device_capability(device) == (9, 0)


def tensor_map(tensor: Tensor, box: tuple[int, ...]) -> ctypes.Array[ctypes.c_ubyte]:
    """Describe a tensor whose last dimension is contiguous; a copy takes a box, one size per dimension.

    Rows may overlap. What a box has outside the tensor is copied as zeros.
    """
    encoded = (ctypes.c_ubyte * 192)()
    offset = -ctypes.addressof(encoded) % 64  # the driver requires this alignment
    dimensions = tensor.dim()
    sizes = (ctypes.c_uint64 * dimensions)(*reversed(tensor.shape))
    strides = (ctypes.c_uint64 * (dimensions - 1))(*(step * tensor.itemsize for step in reversed(tensor.stride()[:-1])))
    boxes = (ctypes.c_uint32 * dimensions)(*reversed(box))
    steps = (ctypes.c_uint32 * dimensions)(*[1] * dimensions)
    status = _driver().cuTensorMapEncodeTiled(
        ctypes.byref(encoded, offset), _TENSOR_MAP_TYPES[tensor.dtype], dimensions, ctypes.c_void_p(tensor.data_ptr()),
        sizes, strides, boxes, steps, 0, _SWIZZLE_128_BYTES, _PROMOTE_256_BYTES, 0,
    )  # fmt: skip
    if status:
        raise RuntimeError(f"cuTensorMapEncodeTiled failed with CUDA status {status}")
    return TensorMap.from_buffer_copy(encoded, offset)


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")
