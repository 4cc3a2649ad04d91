"""Celery's configuration, read by a node when it first needs a value. Reasons: docs/internals/architecture.md."""

from __future__ import annotations

from whisper_fleet.shared import names
from whisper_fleet.shared.settings import load_settings

_settings = load_settings()

broker_url = _settings.redis_url
# Waits for a Redis that is unreachable or refuses; Celery's own retries would log each of their tries.
result_backend = f"whisper_fleet.shared.broker.results:ResultBackend+{_settings.redis_url}"
result_backend_transport_options = {"retry_policy": {"max_retries": 0}}

task_serializer = "json"
result_serializer = "json"
accept_content = ["json"]
timezone = "UTC"

# A task is acknowledged when it has ended. The ledger's recovery finds what a dead node had; redelivery by Celery
# itself would come too late, or twice. So its timeout is longer than any segment takes, but well within the time for
# which the ledger keeps a job: a request that is redelivered after that would count as a new one.
task_acks_late = True
worker_prefetch_multiplier = 1
# Takes each message in one atomic step and sets aside what Celery cannot read: shared/broker.
broker_transport = "whisper_fleet.shared.broker.transport:FleetTransport"
# A Redis that refuses (full, read-only, a missing right) is retried like one that is unreachable.
broker_channel_error_retry = True
worker_consumer = "whisper_fleet.shared.broker.consumer:PatientConsumer"
broker_transport_options = {
    "accepted_tasks": names.ACCEPTED_TASKS,
    "internal_tasks": names.INTERNAL_TASKS,
    "timed_queues": (names.GPU_QUEUES,),
    "visibility_timeout": int(min(86400, _settings.job_retention / 2)),
    "socket_keepalive": True,
    "socket_connect_timeout": 5,
    "socket_timeout": 30,
}
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# Tasks that are killed would be acknowledged, and never run again.
worker_cancel_long_running_tasks_on_connection_loss = False
result_expires = _settings.job_retention

task_track_started = False
# A client's callback without a queue of its own goes where that client's Celery would send it. The fleet names the
# queue of everything that it sends itself.
task_default_queue = "celery"
worker_send_task_events = True
# Flower would list every tick that beat sends. A node reports each task that it receives.
task_send_sent_event = False
worker_hijack_root_logger = False


def _tick(task: str, interval: float, queue: str) -> dict[str, object]:
    """Return a beat entry. Its messages do not expire, because hosts differ in their clocks: see scheduler/beat.py."""
    options = {"queue": queue, "ignore_result": True}
    return {"task": task, "schedule": interval, "options": options}


# The two that concern one host go to the queue of each host that is up: see scheduler/beat.py.
_host_queue = names.scheduler_queue(_settings.host)
beat_scheduler = "whisper_fleet.scheduler.beat:TickScheduler"
beat_schedule = {
    "autoscale": _tick(names.AUTOSCALE, _settings.autoscale_interval, _host_queue),
    "dispatch": _tick(names.DISPATCH, _settings.dispatch_interval, names.SCHEDULER_QUEUE),
    "recover": _tick(names.RECOVER, _settings.recovery_interval, names.SCHEDULER_QUEUE),
    "clean": _tick(names.CLEAN, _settings.janitor_interval, _host_queue),  # the spool of this host
}
