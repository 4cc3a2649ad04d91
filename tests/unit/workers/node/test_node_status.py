"""What a node reports to the registry: memory, by which placement and slots are counted, and the engine's rates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from whisper_fleet.shared.host import HostReading
from whisper_fleet.shared.names import GpuName
from whisper_fleet.shared.wire import EngineRates, GpuStatus
from whisper_fleet.workers.link.protocol import EngineStats
from whisper_fleet.workers.node import status as status_module
from whisper_fleet.workers.node.status import NodeIdentity, gpu_status
from whisper_fleet.workers.pool.slots import Slots

MIB = 2**20


NODE = NodeIdentity(name="gpu0@testhost", gpu=GpuName("testhost", 0), device="cpu", started=0.5)


def reported(device: Any, **measured: Any) -> GpuStatus:
    plain: dict[str, Any] = {
        "pid": 7, "device": device, "slots": 4, "rows_live": 0, "rows_waiting": 0, "windows_per_s": 0.0,
        "times_realtime": 0.0, "tokens_per_s": 0.0, "share_encode": 0.0, "share_prefill": 0.0, "share_decode": 0.0,
        "share_idle": 1.0, "models": (), "forms": {},
    }  # fmt: skip
    stats = EngineStats(**(plain | measured))
    return gpu_status(replace(NODE, device=device), stats, Slots(4), 1.0, ready=True)


def test_on_a_processor_the_cache_lies_in_the_engines_process() -> None:
    status = reported("cpu", memory_bytes={"cache": 300 * MIB, "process": 900 * MIB})
    assert status.engine_bytes == 900 * MIB


def test_on_a_gpu_the_cache_lies_beside_what_torch_holds() -> None:
    status = reported("cuda", memory_bytes={"cache": 300 * MIB, "torch": 900 * MIB}, free_bytes=1, total_bytes=2)
    assert (status.engine_bytes, status.free_bytes, status.total_bytes) == (1200 * MIB, 1, 2)


def test_a_processors_memory_is_what_its_container_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        status_module, "read_host", lambda: HostReading(total_bytes=40 * MIB, free_bytes=30 * MIB, cores=2)
    )
    status = reported("cpu", memory_bytes={"cache": 0, "process": MIB})
    assert (status.total_bytes, status.free_bytes) == (40 * MIB, 30 * MIB)


def test_the_engines_rates_are_reported_as_it_measures_them() -> None:
    measured: dict[str, Any] = {"windows_per_s": 2.5, "times_realtime": 75.0, "tokens_per_s": 250.0}
    measured |= {"rows_live": 3, "rows_waiting": 1}
    measured |= {"share_encode": 0.2, "share_prefill": 0.1, "share_decode": 0.6, "share_idle": 0.1}
    assert reported("cuda", memory_bytes={}, **measured).rates == EngineRates(**measured)


def test_what_belongs_to_the_node_process_stands_beside_what_belongs_to_the_gpu() -> None:
    status = reported("cuda", memory_bytes={}, uuid="GPU-1", name="L4")
    assert (status.id, status.uuid, status.name) == ("testhost.0", "GPU-1", "L4")
    assert (status.node, status.queue, status.slots, status.busy) == ("gpu0@testhost", "gpu.testhost.0", 4, 0)
    assert (status.ready, status.started, status.heartbeat) == (True, 0.5, 1.0)
