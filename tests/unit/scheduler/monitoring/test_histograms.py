"""Durations as the ledger counts them, and as Prometheus reads them."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.scheduler.monitoring.test_metrics import FIGURES, scraped
from whisper_fleet.scheduler.monitoring.histograms import BOUNDS, histograms_of


def test_buckets_become_cumulative_per_label() -> None:
    counts = {"histogram/wait/5/0": 2.0, "histogram/wait/5/3": 1.0, "histogram/wait/5/sum": 0.01, "jobs/done": 3.0}
    histogram = histograms_of("wait", counts)["5"]
    assert BOUNDS[0] == 0.001
    assert BOUNDS[3] == 0.008
    assert histogram.cumulative[:5] == (2, 2, 2, 3, 3)
    assert histogram.cumulative[-1] == 3
    assert histogram.sum == 0.01
    assert histograms_of("text", counts) == {}


def test_a_histogram_is_scraped_with_its_bounds() -> None:
    counts = {"histogram/wait/5/0": 2.0, "histogram/wait/5/28": 1.0, "histogram/wait/5/sum": 900000.0}
    lines = scraped(replace(FIGURES, counts=counts))
    assert 'whisper_fleet_job_wait_seconds_bucket{le="0.001",priority="5"} 2.0' in lines
    assert 'whisper_fleet_job_wait_seconds_bucket{le="+Inf",priority="5"} 3.0' in lines
    assert 'whisper_fleet_job_wait_seconds_count{priority="5"} 3.0' in lines
    assert 'whisper_fleet_job_wait_seconds_sum{priority="5"} 900000.0' in lines


def test_counters_exist_before_the_first_event() -> None:
    """Otherwise `increase()` would miss that event."""
    lines = scraped(replace(FIGURES, counts={}))
    assert 'whisper_fleet_jobs_total{state="failed"} 0.0' in lines
    assert 'whisper_fleet_attempts_failed_total{gpu="host.0"} 0.0' in lines
    assert 'whisper_fleet_webhook_attempts_total{outcome="undeliverable"} 0.0' in lines


def test_the_backlog_is_in_seconds_of_one_average_gpu() -> None:
    speeds = {"host.0": 1000.0, "host.1": 500.0, "new.0": 0.0}
    assert "whisper_fleet_backlog_gpu_seconds 60.0" in scraped(replace(FIGURES, backlog=750.0 * 60, speeds=speeds))
    lines = scraped(replace(FIGURES, backlog=100.0))
    assert not any(line.startswith("whisper_fleet_backlog_gpu_seconds ") for line in lines)
    assert "whisper_fleet_backlog_gpu_seconds 0.0" in scraped(replace(FIGURES, backlog=0.0))
