"""GPU statuses for tests, with defaults for what a test does not care about."""

from __future__ import annotations

from typing import Any

from whisper_fleet.shared import names
from whisper_fleet.shared.wire import GpuStatus


def gpu_status(host: str = "host", index: int = 0, **changes: Any) -> GpuStatus:
    """Return the status of an idle GPU with four slots and unknown memory."""
    gpu = names.GpuName(host, index)
    plain: dict[str, Any] = {
        "id": str(gpu),
        "host": host,
        "index": index,
        "uuid": f"GPU-{host}-{index}",
        "name": "L4",
        "device": "cuda",
        "node": str(gpu.node()),
        "queue": gpu.queue,
        "slots": 4,
        "busy": 0,
        "ready": True,
        "started": 0.0,
        "heartbeat": 0.0,
    }
    return GpuStatus(**(plain | changes))
