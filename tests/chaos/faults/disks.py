"""Disks without a free byte."""

from __future__ import annotations

import time

from tests.chaos.rows import row
from tests.chaos.scene.scene import Scene


@row("disk of the spool full for 20 s", needs=("mount",), late_share=0.5)
def spool(scene: Scene) -> None:
    with scene.spool.full():
        scene.submit_rest()
        time.sleep(20.0)


@row("disk of the outputs full for 20 s", needs=("mount",))
def outputs(scene: Scene) -> None:
    with scene.outputs.full():
        time.sleep(20.0)
