"""The Celery app of IdleNode: it serves the remote control of a GPU node, and needs no engine."""

from __future__ import annotations

from celery import Celery

from whisper_fleet.shared.broker.remote_control import LimitRemoteControlOfNode

app = Celery("whisper_fleet")
app.config_from_object("whisper_fleet.celeryconfig")
app.steps["worker"].add(LimitRemoteControlOfNode)
