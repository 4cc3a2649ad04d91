"""Ties a node to the life of its Celery worker."""

from __future__ import annotations

import logging
import time
from typing import Any

import torch
from celery import bootsteps, signals

from whisper_fleet.shared import names
from whisper_fleet.shared.settings import load_settings
from whisper_fleet.workers.node.node import Node, current_node, set_current_node

log = logging.getLogger(__name__)


class NodeStep(bootsteps.StartStopStep):
    """Starts the node after the pool and stops it before: the pool drains while the engine lives."""

    requires = ("celery.worker.components:Pool",)

    def create(self, worker: Any) -> Node:  # type: ignore[override]  # the stub says None
        settings = load_settings()
        # One thread each for the spectrograms of many slots; the other cores are the engine's.
        torch.set_num_threads(1)
        node = Node(worker.app, settings, worker.hostname, worker.pool)
        set_current_node(node)
        signals.task_revoked.connect(_on_revoked, weak=False)
        return node


def _on_revoked(request: Any, expired: bool, **_: Any) -> None:
    """A segment's task was revoked, perhaps before it ran: its job cannot be whole any more."""
    if request.task != names.TRANSCRIBE_SEGMENT or expired:
        return
    node = current_node()
    job = request.kwargs["job"]
    if node.fail_fast_ledger.cancel(job, time.time()):
        node.publish_assemble(job)
