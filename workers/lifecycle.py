"""Starts and stops a node with its Celery worker."""

from __future__ import annotations

from typing import Any

import torch
from celery import bootsteps, signals

from whisper_fleet.shared import names
from whisper_fleet.shared.process.reload import reloader
from whisper_fleet.shared.settings import load_settings
from whisper_fleet.workers.node.node import Node, current_node, set_current_node


class NodeStep(bootsteps.StartStopStep):
    """Starts the node after the pool and stops it before, so that the pool drains while the engine lives."""

    requires = ("celery.worker.components:Pool",)

    def create(self, worker: Any) -> Node:  # type: ignore[override]  # the stub says None
        """Return the node, which Celery then starts and stops."""
        # One thread per slot for spectrograms; the other cores are the engine's.
        torch.set_num_threads(1)
        node = Node(worker.app, load_settings(), worker.hostname, worker.pool)
        set_current_node(node)
        reloader.also(node.transcriber.reload)
        signals.task_revoked.connect(_on_revoked, weak=False)
        return node


def _on_revoked(request: Any, expired: bool, **_: Any) -> None:
    """Cancel the job of a segment whose task was revoked, perhaps before it ran: the job can no longer be complete."""
    if request.task == names.TRANSCRIBE_SEGMENT and not expired:
        client = current_node().connections.fail_fast
        client.actions.cancel(request.kwargs["job"], client.ledger.now())
