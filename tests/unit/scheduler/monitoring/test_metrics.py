"""The figures of a fleet as Prometheus reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.support.gpu_status import gpu_status
from whisper_fleet.scheduler.capacity.decisions import DecisionLabels
from whisper_fleet.scheduler.monitoring.metrics import FleetMetrics, declared_metrics
from whisper_fleet.scheduler.monitoring.snapshot import FleetSnapshot, GpuSnapshot
from whisper_fleet.shared.wire import EngineRates

RATES = EngineRates(
    windows_per_s=48.5,
    times_realtime=1432.0,
    tokens_per_s=4850.0,
    share_encode=0.25,
    share_prefill=0.125,
    share_decode=0.5,
    share_idle=0.125,
    rows_live=7,
    rows_waiting=2,
)
GPU = gpu_status(uuid="GPU-0", slots=8, busy=5, total_bytes=24_000, free_bytes=6_000, engine_bytes=17_000, rates=RATES)
FIGURES = FleetSnapshot(
    gpus=(GpuSnapshot(status=GPU, is_up=True, taken=7, wanted=10),),
    depth={2: (1, 30), 5: (3, 12)},
    messages={"transcribe": 4, "assemble": 0},
    intake_processes=3,
    stalled=12.5,
    counts={
        "segments_done/host.0": 11.0,
        "audio_seconds/host.0": 3300.5,
        "attempts_failed/host.0": 2.0,
        "jobs/done": 3.0,
        "jobs/failed": 1.0,
    },
    decisions={DecisionLabels("host.0", "grow", "resized", "two readings agree"): 6},
)


def scraped(figures: FleetSnapshot) -> list[str]:
    """The lines of the answer."""
    registry = CollectorRegistry()
    registry.register(FleetMetrics(lambda: figures))
    return generate_latest(registry).decode().splitlines()


def test_every_figure_of_a_gpu_is_scraped() -> None:
    assert {
        "whisper_fleet_redis_up 1.0",
        'whisper_fleet_gpu_up{gpu="host.0"} 1.0',
        'whisper_fleet_slots{gpu="host.0"} 8.0',
        'whisper_fleet_slots_wanted{gpu="host.0"} 10.0',
        'whisper_fleet_slots_taken{gpu="host.0"} 7.0',
        'whisper_fleet_slots_busy{gpu="host.0"} 5.0',
        'whisper_fleet_gpu_memory_bytes{gpu="host.0",kind="total"} 24000.0',
        'whisper_fleet_gpu_memory_bytes{gpu="host.0",kind="free"} 6000.0',
        'whisper_fleet_gpu_memory_bytes{gpu="host.0",kind="used"} 18000.0',
        'whisper_fleet_gpu_memory_bytes{gpu="host.0",kind="engine"} 17000.0',
    } <= set(scraped(FIGURES))


def test_the_rates_of_a_gpus_engine_are_reported() -> None:
    assert {
        'whisper_fleet_engine_windows_per_second{gpu="host.0"} 48.5',
        'whisper_fleet_engine_realtime_ratio{gpu="host.0"} 1432.0',
        'whisper_fleet_engine_tokens_per_second{gpu="host.0"} 4850.0',
        'whisper_fleet_engine_time_ratio{gpu="host.0",phase="encode"} 0.25',
        'whisper_fleet_engine_time_ratio{gpu="host.0",phase="prefill"} 0.125',
        'whisper_fleet_engine_time_ratio{gpu="host.0",phase="decode"} 0.5',
        'whisper_fleet_engine_time_ratio{gpu="host.0",phase="idle"} 0.125',
        'whisper_fleet_engine_rows_live{gpu="host.0"} 7.0',
        'whisper_fleet_engine_requests_waiting{gpu="host.0"} 2.0',
    } <= set(scraped(FIGURES))


@pytest.mark.parametrize(
    "gpu",
    [
        GpuSnapshot(status=GPU, is_up=False, taken=0, wanted=None),
        GpuSnapshot(status=GPU.model_copy(update={"rates": None}), is_up=True, taken=0, wanted=None),
    ],
)
def test_an_engine_that_is_down_or_reports_no_rates_has_none(gpu: GpuSnapshot) -> None:
    lines = scraped(replace(FIGURES, gpus=(gpu,)))
    assert not any(line.startswith("whisper_fleet_engine_") for line in lines)


def test_what_waits_and_what_was_done_is_scraped() -> None:
    labels = 'action="grow",gpu="host.0",outcome="resized",reason="two readings agree"'
    assert {
        'whisper_fleet_segments{state="waiting"} 42.0',
        'whisper_fleet_segments{state="assigned"} 2.0',
        'whisper_fleet_segments{state="running"} 5.0',
        'whisper_fleet_jobs_waiting{priority="2"} 1.0',
        'whisper_fleet_jobs_waiting{priority="5"} 3.0',
        'whisper_fleet_messages{queue="transcribe"} 4.0',
        'whisper_fleet_segments_done_total{gpu="host.0"} 11.0',
        'whisper_fleet_audio_seconds_total{gpu="host.0"} 3300.5',
        'whisper_fleet_attempts_failed_total{gpu="host.0"} 2.0',
        'whisper_fleet_jobs_total{state="done"} 3.0',
        'whisper_fleet_jobs_total{state="failed"} 1.0',
        f"whisper_fleet_slot_decisions_total{{{labels}}} 6.0",
    } <= set(scraped(FIGURES))


def test_what_is_unknown_has_no_sample() -> None:
    unknown = GPU.model_copy(update={"total_bytes": None, "free_bytes": None, "engine_bytes": None})
    lines = scraped(replace(FIGURES, gpus=(GpuSnapshot(status=unknown, is_up=False, taken=0, wanted=None),)))
    assert 'whisper_fleet_gpu_up{gpu="host.0"} 0.0' in lines
    assert not any(line.startswith("whisper_fleet_gpu_memory_bytes{") for line in lines)
    assert not any(line.startswith("whisper_fleet_slots_wanted{") for line in lines)
    assert 'whisper_fleet_segments{state="running"} 0.0' in lines, "a dead node runs nothing"


def test_without_redis_only_that_is_scraped() -> None:
    def read() -> NoReturn:
        raise RedisConnectionError("refused")

    registry = CollectorRegistry()
    registry.register(FleetMetrics(read))
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    assert lines == ["whisper_fleet_redis_up 0.0"]


def test_the_declared_metrics_are_those_on_the_page_with_their_help_type_and_labels() -> None:
    registry = CollectorRegistry()
    registry.register(FleetMetrics(lambda: FIGURES))
    declared = {spec.name: spec for spec in declared_metrics()}
    families = {family.name.removeprefix("whisper_fleet_"): family for family in registry.collect()}
    assert list(families) == list(declared)
    for name, family in families.items():
        spec = declared[name]
        assert (family.type, family.documentation, family.unit) == (spec.type, spec.help, spec.unit)
        assert all(set(sample.labels) == set(spec.labels) for sample in family.samples)
        assert all(sample.name == spec.full_name for sample in family.samples)
        assert spec.help.endswith(".")


def test_registering_does_not_read_redis_and_a_second_time_is_an_error() -> None:
    def read() -> NoReturn:
        raise AssertionError("nobody asked for metrics")

    registry = CollectorRegistry()
    registry.register(FleetMetrics(read))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(FleetMetrics(read))


def test_a_decision_is_counted_in_a_field_that_is_read_back() -> None:
    labels = DecisionLabels("host.0", "shrink", "no answer", "fewer fit")
    assert labels.field == "host.0/shrink/no answer/fewer fit"
    assert DecisionLabels.parse(labels.field) == labels
    assert DecisionLabels.parse("host.0/shrink/no answer") is None, "written by another version"
