"""The bytes of a frame: one message as JSON and at most one tensor behind it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from whisper_fleet.workers.link.protocol import PREFIX, Reply, Request, TensorSpec

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def frame(message: Request | Reply, tensor: Tensor | None = None) -> list[bytes | memoryview]:
    """Return the parts of one frame, to be sent in this order.

    `message.tensor` must describe the tensor, which must be contiguous and in host memory.
    """
    text = message.to_json().encode()
    if tensor is None:
        return [PREFIX.pack(len(text), 0), text]
    raw: Any = memoryview(tensor.flatten().view(torch.uint8).numpy())  # type: ignore[arg-type]  # numpy arrays are buffers
    return [PREFIX.pack(len(text), raw.nbytes), text, raw]


def spec_of(tensor: Tensor) -> TensorSpec:
    """Return the description of a two-dimensional tensor that its message carries."""
    name: Any = str(tensor.dtype).removeprefix("torch.")
    rows, columns = tensor.shape
    return TensorSpec(dtype=name, shape=(rows, columns))


def read_tensor(spec: TensorSpec, raw: Tensor) -> Tensor:
    """Return the tensor that a frame's bytes (uint8, [bytes]) hold, without copying them.

    Raises ValueError if there are more or fewer bytes than the description needs.
    """
    dtype = _DTYPES[spec.dtype]
    expected = math.prod(spec.shape) * dtype.itemsize
    if len(raw) != expected:
        raise ValueError(f"{len(raw)} bytes do not make a {spec.dtype} tensor of shape {spec.shape}")
    return raw.view(dtype).reshape(spec.shape)
