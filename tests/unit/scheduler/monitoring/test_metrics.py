"""The figures of a fleet as Prometheus reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

from prometheus_client import CollectorRegistry, generate_latest
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.support.gpu_status import gpu_status
from whisper_fleet.scheduler.monitoring.metrics import FleetMetrics
from whisper_fleet.scheduler.monitoring.snapshot import FleetSnapshot, GpuSnapshot

GPU = gpu_status(uuid="GPU-0", slots=8, busy=5, total_bytes=24_000, free_bytes=6_000, engine_bytes=17_000)
FIGURES = FleetSnapshot(
    gpus=(GpuSnapshot(status=GPU, is_up=True, taken=7, wanted=10),),
    depth={2: (1, 30), 5: (3, 12)},
    messages={"transcribe": 4, "assemble": 0},
    counts={
        "segments_done/host.0": 11.0,
        "audio_seconds/host.0": 3300.5,
        "attempts_failed/host.0": 2.0,
        "jobs/done": 3.0,
        "jobs/failed": 1.0,
    },
    decisions={"host.0/grow/resized/two readings agree": 6, "host.0/shrink/no answer": 9},
)


def told(figures: FleetSnapshot) -> list[str]:
    """The lines of the answer."""
    registry = CollectorRegistry()
    registry.register(FleetMetrics(lambda: figures))
    return generate_latest(registry).decode().splitlines()


def test_every_figure_of_a_gpu_is_told() -> None:
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
    } <= set(told(FIGURES))


def test_what_waits_and_what_was_done_is_told() -> None:
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
    } <= set(told(FIGURES))


def test_what_is_unknown_has_no_sample() -> None:
    unknown = GPU.model_copy(update={"total_bytes": None, "free_bytes": None, "engine_bytes": None})
    lines = told(replace(FIGURES, gpus=(GpuSnapshot(status=unknown, is_up=False, taken=0, wanted=None),)))
    assert 'whisper_fleet_gpu_up{gpu="host.0"} 0.0' in lines
    assert not any(line.startswith("whisper_fleet_gpu_memory_bytes{") for line in lines)
    assert not any(line.startswith("whisper_fleet_slots_wanted{") for line in lines)
    assert 'whisper_fleet_segments{state="running"} 0.0' in lines, "what a dead node last said runs no more"


def test_without_redis_only_that_is_told() -> None:
    def read() -> NoReturn:
        raise RedisConnectionError("refused")

    registry = CollectorRegistry()
    registry.register(FleetMetrics(read))
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    assert lines == ["whisper_fleet_redis_up 0.0"]
