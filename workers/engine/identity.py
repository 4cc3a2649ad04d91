"""The identity of the engine's device, which the node reports in the registry."""

from __future__ import annotations

import platform
from typing import Any

import torch


def identity(device: torch.device) -> dict[str, Any]:
    """Return UUID and name as NVML writes them, and the device's memory in bytes; of a CPU only its name."""
    if device.type == "cpu":
        return {"name": platform.processor() or platform.machine() or "cpu"}
    properties = torch.cuda.get_device_properties(device)
    free_bytes, total_bytes = torch.cuda.mem_get_info(device)
    uuid = getattr(properties, "uuid", None)  # since torch 2.5
    return {
        "uuid": None if uuid is None else f"GPU-{uuid}",
        "name": properties.name,
        "total_bytes": total_bytes,
        "free_bytes": free_bytes,
    }
