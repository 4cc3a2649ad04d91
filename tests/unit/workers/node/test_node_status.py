"""What a node tells the registry of the memory that placement and slots are counted by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.support.stub_pool import StubPool
from whisper_fleet.shared.host import HostReading
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import EngineRates, GpuStatus
from whisper_fleet.workers.link.protocol import EngineStats
from whisper_fleet.workers.node import node
from whisper_fleet.workers.node.node import Node

MIB = 2**20


def status(directory: Path, device: Any, **told: Any) -> GpuStatus:
    plain: dict[str, Any] = {
        "pid": 7, "device": device, "slots": 4, "rows_live": 0, "rows_waiting": 0, "windows_per_s": 0.0,
        "times_realtime": 0.0, "tokens_per_s": 0.0, "share_encode": 0.0, "share_prefill": 0.0, "share_decode": 0.0,
        "share_idle": 1.0, "models": (), "forms": {},
    }  # fmt: skip
    settings = Settings(var_dir=directory, device=device, host="testhost")
    with Celery(set_as_current=False) as app:
        return Node(app, settings, "gpu0@testhost", StubPool(4)).status(EngineStats(**(plain | told)), 1.0)


def test_on_a_processor_the_cache_lies_in_the_engines_process(tmp_path: Path) -> None:
    told = status(tmp_path, "cpu", memory_bytes={"cache": 300 * MIB, "process": 900 * MIB})
    assert told.engine_bytes == 900 * MIB


def test_on_a_gpu_the_cache_lies_beside_what_torch_holds(tmp_path: Path) -> None:
    told = status(tmp_path, "cuda", memory_bytes={"cache": 300 * MIB, "torch": 900 * MIB}, free_bytes=1, total_bytes=2)
    assert (told.engine_bytes, told.free_bytes, told.total_bytes) == (1200 * MIB, 1, 2)


def test_a_processors_memory_is_what_its_container_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "read_host", lambda: HostReading(total_bytes=40 * MIB, free_bytes=30 * MIB, cores=2))
    told = status(tmp_path, "cpu", memory_bytes={"cache": 0, "process": MIB})
    assert (told.total_bytes, told.free_bytes) == (40 * MIB, 30 * MIB)


def test_the_engines_rates_are_reported_as_it_measures_them(tmp_path: Path) -> None:
    measured: dict[str, Any] = {"windows_per_s": 2.5, "times_realtime": 75.0, "tokens_per_s": 250.0}
    measured |= {"rows_live": 3, "rows_waiting": 1}
    measured |= {"share_encode": 0.2, "share_prefill": 0.1, "share_decode": 0.6, "share_idle": 0.1}
    reported = status(tmp_path, "cuda", memory_bytes={}, **measured).rates
    assert reported == EngineRates(**measured)
