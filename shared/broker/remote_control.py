"""Limits Celery's remote control to what the fleet and Flower use.

Anyone who can write to Redis can broadcast a command to every process. Commands that stop a process, change its queues
or its size are not served, except that the autoscaler resizes the pools of GPU nodes.
"""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from celery.worker.control import Panel

#: Commands that only read, or that cancel a job.
SERVED_EVERYWHERE = frozenset(
    {
        "active",
        "active_queues",
        "clock",
        "conf",
        "disable_events",
        "election",
        "enable_events",
        "heartbeat",
        "hello",
        "ping",
        "query_task",
        "registered",
        "report",
        "reserved",
        "revoke",
        "revoke_by_stamped_headers",
        "revoked",
        "scheduled",
        "stats",
        "terminate",
    }
)
#: Commands by which the autoscaler changes a GPU node's slots.
SERVED_BY_GPU_NODES = SERVED_EVERYWHERE | {"pool_grow", "pool_shrink"}


class LimitRemoteControl(bootsteps.Step):
    """Serve only commands that read, or that cancel a job."""

    served = SERVED_EVERYWHERE

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        for command in set(Panel.data) - self.served:
            del Panel.data[command]


class LimitRemoteControlOfNode(LimitRemoteControl):
    """Also serve the commands by which the autoscaler resizes a GPU node."""

    served = SERVED_BY_GPU_NODES
