"""A host whose network cable is pulled, and put back."""

from __future__ import annotations

import time

from tests.chaos.rows import row
from tests.chaos.scene.scene import Scene


@row("host cut off for 20 s", needs=("network",))
def briefly(scene: Scene) -> None:
    _cut(scene, 20.0)


@row("host cut off for 90 s", needs=("network",))
def long(scene: Scene) -> None:
    _cut(scene, 90.0)


@row("host cut off until the end", needs=("network",), resumption="lost segments")
def for_good(scene: Scene) -> None:
    assert scene.network is not None
    scene.network.cut(scene.left.name)


def _cut(scene: Scene, seconds: float) -> None:
    assert scene.network is not None
    scene.network.cut(scene.left.name)
    time.sleep(seconds)
    scene.network.mend(scene.left.name)
