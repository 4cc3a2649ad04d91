"""Every queue, node and task name of the fleet: nobody spells one out elsewhere."""

from __future__ import annotations

# Tasks that a client sends, and that the fleet sends itself.
TRANSCRIBE = "transcribe"  # client -> intake
ASSEMBLE = "assemble"  # ledger -> intake, with task_id = job id
TRANSCRIBE_SEGMENT = "transcribe_segment"  # dispatcher -> GPU node
DISPATCH = "dispatch"  # whoever freed or brought something -> scheduler
RECOVER = "recover"  # beat -> scheduler
CLEAN = "clean"  # beat -> scheduler
AUTOSCALE = "autoscale"  # beat -> the scheduler of its own host

# Queues that do not belong to a GPU.
TRANSCRIBE_QUEUE = "transcribe"
ASSEMBLE_QUEUE = "assemble"  # its own, so that a finished job never waits behind new ones
SCHEDULER_QUEUE = "scheduler"


def scheduler_queue(host: str) -> str:
    """The queue that only this host's scheduler reads."""
    return f"scheduler.{host}"


def gpu_id(host: str, index: int) -> str:
    """The name of a GPU within the fleet, `<host>.<index>`."""
    return f"{host}.{index}"


def gpu_queue(gpu: str) -> str:
    """The queue pinned to one GPU, by its id."""
    return f"gpu.{gpu}"


def gpu_node(host: str, index: int) -> str:
    """The Celery node name of the worker that serves one GPU."""
    return f"gpu{index}@{host}"


def scheduler_node(host: str) -> str:
    """The Celery node name of a host's scheduler."""
    return f"scheduler@{host}"


def intake_node(host: str) -> str:
    """The Celery node name of a host's intake."""
    return f"intake@{host}"
