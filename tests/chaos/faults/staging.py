"""Prepares a scene for one row of the table, and leaves it to `wait_ready` to start its hosts as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.scene.scene import Scene


@contextmanager
def restarted_with(scene: Scene, **settings: object) -> Iterator[None]:
    """Run both hosts with other settings, given without WHISPER_FLEET_, while the context lasts."""
    variables = {f"WHISPER_FLEET_{name}": str(value) for name, value in settings.items()}
    for host in scene.hosts:
        host.stop()
        host.start(**variables)
    scene.wait_ready()
    yield
    for host in scene.hosts:
        host.stop()
