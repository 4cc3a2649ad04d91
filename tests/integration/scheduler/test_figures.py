"""The fleet's metrics from real Redis; and real Flower, which serves them and sees the autoscaler's events."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.support.fleet_processes import HOST, FleetProcesses, running_fleet
from tests.support.gpu_status import gpu_status
from tests.support.ledger_by_hand import GPU, LedgerByHand, result
from tests.support.waiting import wait_until
from whisper_fleet.scheduler.monitoring.histograms import histograms_of
from whisper_fleet.scheduler.monitoring.snapshot import SnapshotReader
from whisper_fleet.shared import names
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobState, SlotDecision

pytestmark = pytest.mark.integration

NOW = 100.0


@pytest.fixture
def ledger(redis: Redis) -> LedgerByHand:
    return LedgerByHand(redis, max_attempts=2)


@pytest.fixture
def reader(redis: Redis, redis_url: str) -> SnapshotReader:
    return SnapshotReader(redis, Settings(redis_url=redis_url))


def beat(redis: Redis, gpu: str, heartbeat: float) -> None:
    host, _, index = gpu.partition(".")
    GpuRegistry(redis).beat(gpu_status(host, int(index), uuid=f"GPU-{gpu}", busy=1, heartbeat=heartbeat))


def test_an_empty_fleet_has_figures(reader: SnapshotReader) -> None:
    figures = reader.read(NOW)
    assert (figures.gpus, figures.depth, figures.counts, figures.decisions) == ((), {}, {}, {})
    assert figures.messages == {"transcribe": 0, "transcribe.resumed": 0, "assemble": 0}


def test_a_gpu_is_up_while_it_sends_heartbeats(redis: Redis, reader: SnapshotReader) -> None:
    beat(redis, "host.0", NOW - 1)
    beat(redis, "host.1", NOW - 60)
    decision = SlotDecision(
        gpu="host.0", node="gpu0@host", at=NOW, wanted=6, action="hold", outcome="none", reason="as wanted"
    )
    redis.set(keys.slot_decision("host.0"), decision.to_json())
    redis.set(keys.slot_decision("host.1"), '{"of": "another version"}')
    figures = reader.read(NOW)
    assert [gpu.is_up for gpu in figures.gpus] == [True, False]
    assert [gpu.wanted for gpu in figures.gpus] == [6, None]


def test_what_waits_and_runs_is_counted(redis: Redis, reader: SnapshotReader, ledger: LedgerByHand) -> None:
    beat(redis, GPU, NOW)
    ledger.planned("long", 5, tenant="a")
    ledger.planned("short", 2, tenant="b")
    ledger.planned("urgent", 3, priority=1)
    ledger.running("long", 0)
    ledger.assigned("long", 1)
    redis.lpush("transcribe\x06\x163", "a message of priority 3")
    figures = reader.read(NOW)
    assert figures.depth == {1: (1, 3), 5: (2, 5)}
    assert [gpu.taken for gpu in figures.gpus] == [2]
    assert figures.messages == {"transcribe": 1, "transcribe.resumed": 0, "assemble": 0}


def test_what_was_ever_done_is_counted_once(reader: SnapshotReader, ledger: LedgerByHand) -> None:
    ledger.planned("good", 2, seconds=30.0)
    for segment in range(2):
        message = ledger.running("good", segment)
        for _ in range(2):  # the same call again
            ledger.finish(message, result(), 5.0)
    ledger.settle("good", 6.0)
    ledger.settle("good", 6.0)
    ledger.planned("bad")
    for attempt in range(2):
        assert ledger.return_to_queue(ledger.running("bad"), "it died", 7.0).job_failed == (attempt == 1)
    ledger.planned("unwanted")
    ledger.reassign(ledger.running("unwanted"), 8.0)
    assert ledger.cancel("unwanted", 9.0)
    assert ledger.job("bad").state is JobState.FAILED
    counts = reader.read(NOW).counts
    durations = {name: histograms_of(name, counts) for name in ("wait", "text", "window")}
    # Three jobs waited 2 s each, one was accepted at 1 and done at 6, and two windows took 2 s each.
    assert {name: [one.cumulative[-1] for one in by.values()] for name, by in durations.items()} == {
        "wait": [3],
        "text": [1],
        "window": [2],
    }
    assert [by_label.popitem()[1].sum for by_label in durations.values()] == [6.0, 5.0, 4.0]
    assert {name: count for name, count in counts.items() if not name.startswith("histogram/")} == {
        f"segments_done/{GPU}": 2,
        f"audio_seconds/{GPU}": 60,
        f"attempts_failed/{GPU}": 2,
        f"segments_failed/{GPU}": 1,
        "jobs/done": 1,
        "jobs/failed": 1,
        "jobs/cancelled": 1,
    }


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path, tiny_model: Path) -> Iterator[FleetProcesses]:
    names = ("scheduler", "gpu0", "flower", "beat")
    with running_fleet(names, redis_url, tmp_path, tiny_model.parent, autoscale_interval=1.0) as fleet:
        yield fleet


def test_flower_serves_the_metrics_and_sees_the_autoscalers_events(fleet: FleetProcesses) -> None:
    gpu = str(names.GpuName(HOST, 0))
    wait_until(lambda: "Visit me at" in fleet.log("flower").read_text())
    wait_until(lambda: f'whisper_fleet_slots_wanted{{gpu="{gpu}"}}' in page(fleet, "metrics"))
    metrics = page(fleet, "metrics")
    assert "whisper_fleet_redis_up 1.0" in metrics
    assert f'whisper_fleet_gpu_memory_bytes{{gpu="{gpu}",kind="total"}}' in metrics
    assert "flower_worker_online" in metrics, "its own metrics are still there"
    seen = names.scheduler_node(HOST)
    wait_until(lambda: any(kind.startswith("slots-") for kind in events_by_node(fleet).get(seen, ())))


def events_by_node(fleet: FleetProcesses) -> dict[str, dict[str, object]]:
    """What Flower counts of each node's events, by their types, among what else it knows of it."""
    return {row["hostname"]: row for row in json.loads(page(fleet, "workers?json=1"))["data"]}


def page(fleet: FleetProcesses, path: str) -> str:
    address = re.search(r"Visit me at (http://\S+)", fleet.log("flower").read_text())
    assert address is not None
    with urllib.request.urlopen(f"{address[1]}/{path}", timeout=20) as answer:
        return str(answer.read().decode())
