"""The table of the fleet's metrics, each with the function that reads its samples from a snapshot.

What is unknown has no sample, never a zero. To add a metric, add an entry to the table; if no snapshot has its value
yet, add its source to snapshot.py.
"""

from __future__ import annotations

from typing import Final

from whisper_fleet.scheduler.monitoring.metric_spec import MetricSpec
from whisper_fleet.scheduler.monitoring.samples import (
    counted,
    counted_per_gpu,
    engine_time,
    gpu_seconds,
    memory,
    per_engine,
    per_gpu,
    segments,
)

REDIS_UP: Final = MetricSpec(
    name="redis_up",
    help="Whether the fleet's Redis answers: 1 or 0.",
    samples=lambda _: [((), 1)],
)

METRICS: Final = (
    # --- per GPU ---
    MetricSpec(
        name="gpu_up",
        labels=("gpu",),
        help="Whether the GPU's node sends heartbeats and its engine answers: 1 or 0.",
        samples=per_gpu(lambda gpu: gpu.is_up),
    ),
    MetricSpec(
        name="slots",
        labels=("gpu",),
        help="Slots of the GPU's pool now.",
        samples=per_gpu(lambda gpu: gpu.status.slots),
    ),
    MetricSpec(
        name="slots_wanted",
        labels=("gpu",),
        help="Slots that memory, cores and settings allow.",
        samples=per_gpu(lambda gpu: gpu.wanted),
    ),
    MetricSpec(
        name="slots_taken",
        labels=("gpu",),
        help="Slots with a segment assigned or running, as counted by the ledger.",
        samples=per_gpu(lambda gpu: gpu.taken),
    ),
    MetricSpec(
        name="slots_busy",
        labels=("gpu",),
        help="Slots that run a segment, as counted by the GPU's node.",
        samples=per_gpu(lambda gpu: gpu.status.busy),
    ),
    MetricSpec(
        name="gpu_memory_bytes",
        labels=("gpu", "kind"),
        unit="bytes",
        help="Memory of the GPU, or of the host for a CPU; kind is total, free, used or engine.",
        samples=memory,
    ),
    # --- per engine: averages over its last ten seconds ---
    MetricSpec(
        name="engine_windows_per_second",
        labels=("gpu",),
        unit="per_second",
        help="Windows of 30 s of audio that the engine decodes per second.",
        samples=per_engine(lambda rates: rates.windows_per_s),
    ),
    MetricSpec(
        name="engine_realtime_ratio",
        labels=("gpu",),
        unit="ratio",
        help="Seconds of audio that the engine transcribes per second.",
        samples=per_engine(lambda rates: rates.times_realtime),
    ),
    MetricSpec(
        name="engine_tokens_per_second",
        labels=("gpu",),
        unit="per_second",
        help="Tokens that the engine produces per second.",
        samples=per_engine(lambda rates: rates.tokens_per_s),
    ),
    MetricSpec(
        name="engine_time_ratio",
        labels=("gpu", "phase"),
        unit="ratio",
        help="Share of the engine's time, 0 to 1; phase is encode, prefill, decode or idle.",
        samples=engine_time,
    ),
    MetricSpec(
        name="engine_rows_live",
        labels=("gpu",),
        help="Rows of the engine's batch in use now.",
        samples=per_engine(lambda rates: rates.rows_live),
    ),
    MetricSpec(
        name="engine_requests_waiting",
        labels=("gpu",),
        help="Requests that wait for a row of the engine's batch now.",
        samples=per_engine(lambda rates: rates.rows_waiting),
    ),
    # --- work ---
    MetricSpec(
        name="segments",
        labels=("state",),
        help="Segments by state: waiting, assigned or running.",
        samples=segments,
    ),
    MetricSpec(
        name="jobs_waiting",
        labels=("priority",),
        help="Jobs with segments that wait for a GPU.",
        samples=lambda snapshot: [((str(priority),), jobs) for priority, (jobs, _) in sorted(snapshot.depth.items())],
    ),
    MetricSpec(
        name="tenant_jobs_waiting",
        labels=("tenant",),
        help="Jobs with segments that wait for a GPU, of the 20 tenants with most.",
        samples=lambda snapshot: [((tenant,), jobs) for tenant, jobs in snapshot.tenants.items()],
    ),
    MetricSpec(
        name="backlog_seconds",
        unit="seconds",
        help="Audio in segments that wait for a GPU.",
        samples=lambda snapshot: [((), snapshot.backlog)],
    ),
    MetricSpec(
        name="backlog_gpu_seconds",
        unit="seconds",
        help="Time that one average GPU needs for the audio that waits, at the speed that the fleet measured last.",
        samples=lambda snapshot: [((), gpu_seconds(snapshot))],
    ),
    MetricSpec(
        name="messages",
        labels=("queue",),
        help="Messages that wait for intake.",
        samples=lambda snapshot: [((queue,), count) for queue, count in snapshot.messages.items()],
    ),
    MetricSpec(
        name="intake_processes",
        help="Processes of the intake nodes that are up.",
        samples=lambda snapshot: [((), snapshot.intake_processes)],
    ),
    MetricSpec(
        name="requests_stalled_seconds",
        unit="seconds",
        help="Seconds for which requests wait and no intake has accepted one; 0 while they are accepted.",
        samples=lambda snapshot: [((), snapshot.stalled)],
    ),
    MetricSpec(
        name="webhooks_pending",
        labels=("state",),
        help="Webhooks that are not delivered; state is waiting or undeliverable.",
        samples=lambda snapshot: [((state,), count) for state, count in snapshot.webhooks.items()],
    ),
    # --- durations since the fleet's Redis was set up ---
    MetricSpec(
        name="job_wait_seconds",
        type="histogram",
        labels=("priority",),
        unit="seconds",
        help="Time from a job's acceptance to the start of its first segment.",
        histogram="wait",
    ),
    MetricSpec(
        name="job_text_seconds",
        type="histogram",
        labels=("priority",),
        unit="seconds",
        help="Time from a job's acceptance to its transcript.",
        histogram="text",
    ),
    MetricSpec(
        name="window_seconds",
        type="histogram",
        labels=("gpu",),
        unit="seconds",
        help="Time that a slot spent per window of 30 s of audio, averaged over its segment.",
        histogram="window",
    ),
    # --- totals since the fleet's Redis was set up ---
    MetricSpec(
        name="segments_done",
        type="counter",
        labels=("gpu",),
        help="Segments transcribed.",
        samples=counted_per_gpu("segments_done"),
    ),
    MetricSpec(
        name="segments_failed",
        type="counter",
        labels=("gpu",),
        help="Segments that failed for good, and their jobs with them.",
        samples=counted_per_gpu("segments_failed"),
    ),
    MetricSpec(
        name="attempts_failed",
        type="counter",
        labels=("gpu",),
        help="Attempts at segments that failed, the last ones included.",
        samples=counted_per_gpu("attempts_failed"),
    ),
    MetricSpec(
        name="audio_seconds",
        type="counter",
        labels=("gpu",),
        unit="seconds",
        help="Seconds of audio transcribed.",
        samples=counted_per_gpu("audio_seconds"),
    ),
    MetricSpec(
        name="jobs",
        type="counter",
        labels=("state",),
        help="Jobs that ended; state is done, failed or cancelled.",
        samples=counted("jobs", ("done", "failed", "cancelled")),
    ),
    MetricSpec(
        name="webhook_attempts",
        type="counter",
        labels=("outcome",),
        help="Calls of webhooks; outcome is delivered, later (it is tried again) or undeliverable.",
        samples=counted("webhooks", ("delivered", "later", "undeliverable")),
    ),
    MetricSpec(
        name="key_requests",
        type="counter",
        labels=("key",),
        help="HTTP requests with an API key, by the key's id; none: without one.",
        samples=lambda snapshot: [((usage.key,), usage.requests) for usage in snapshot.usage],
    ),
    MetricSpec(
        name="key_audio_seconds",
        type="counter",
        labels=("key",),
        unit="seconds",
        help="Seconds of audio of the jobs of an API key that are done.",
        samples=lambda snapshot: [((usage.key,), usage.audio_seconds) for usage in snapshot.usage],
    ),
    MetricSpec(
        name="slot_decisions",
        type="counter",
        labels=("gpu", "action", "outcome", "reason"),
        help="Decisions of the autoscaler: what it decided, how that ended, and why.",
        samples=lambda snapshot: snapshot.decisions.items(),
    ),
)
