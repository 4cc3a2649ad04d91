"""What a machine looks at when it joins a fleet that is up on others."""

from __future__ import annotations

from tests.support.gpu_status import gpu_status
from whisper_fleet.cli.machine.up import _ready_here
from whisper_fleet.deploy.processes.host_conflict import gpu_with_newer_heartbeat
from whisper_fleet.shared.wire import GpuStatus


def gpu(host: str, *, heartbeat: float = 110.0, ready: bool = True) -> GpuStatus:
    return gpu_status(host, heartbeat=heartbeat, ready=ready)


def test_a_machine_is_up_when_its_own_gpu_is_whatever_others_are() -> None:
    assert _ready_here([gpu("other")], "here", since=100.0) == []
    assert _ready_here([gpu("other"), gpu("here")], "here", since=100.0) == [gpu("here")]


def test_what_a_gpu_said_before_the_start_does_not_count() -> None:
    assert _ready_here([gpu("here", heartbeat=99.0), gpu("here", ready=False)], "here", since=100.0) == []


def test_one_of_our_name_is_alive_when_its_heartbeat_moves() -> None:
    seen = {"here.0": 110.0}
    assert gpu_with_newer_heartbeat(seen, [gpu("here")]) is None
    assert gpu_with_newer_heartbeat(seen, [gpu("here", heartbeat=112.0)]) == "here.0"
    assert gpu_with_newer_heartbeat({}, [gpu("here")]) is None
