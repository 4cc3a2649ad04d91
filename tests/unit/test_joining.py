"""What a machine looks at when it joins a fleet that is up on others."""

from __future__ import annotations

from typing import Any

from deploy.cli.fleet import _ready_here
from shared.wire import GpuStatus


def gpu(host: str, **changes: Any) -> GpuStatus:
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


def test_a_machine_is_up_when_its_own_gpu_is_whatever_others_are() -> None:
    assert _ready_here([gpu("other")], "here", since=100.0) == []
    assert _ready_here([gpu("other"), gpu("here")], "here", since=100.0) == [gpu("here")]


def test_what_a_gpu_said_before_the_start_does_not_count() -> None:
    assert _ready_here([gpu("here", heartbeat=99.0), gpu("here", ready=False)], "here", since=100.0) == []
