"""What GPUs tell the registry, for tests to which hosts and heartbeats matter."""

from __future__ import annotations

from typing import Any

from shared.wire import GpuStatus


def gpu(host: str, **changes: Any) -> GpuStatus:
    """What the first GPU of that host tells the registry."""
    plain: dict[str, Any] = {
        "id": f"{host}.0",
        "host": host,
        "index": 0,
        "uuid": "GPU-0",
        "name": "L4",
        "device": "cuda",
        "node": f"gpu0@{host}",
        "queue": f"gpu.{host}.0",
        "slots": 1,
        "busy": 0,
        "ready": True,
        "started": 100.0,
        "heartbeat": 110.0,
    }
    return GpuStatus(**(plain | changes))
