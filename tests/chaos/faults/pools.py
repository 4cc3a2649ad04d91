"""Pools that others resize while engines die, and two of a process of which one is enough."""

from __future__ import annotations

import contextlib
import random
import subprocess
import time

import psutil

from tests.chaos.rows import row
from tests.chaos.scene.scene import Scene


@row("storm of pool_grow and pool_shrink while engines die")
def storm(scene: Scene) -> None:
    chance = random.Random(0)
    nodes = [f"gpu0@{host.name}" for host in scene.hosts]
    for step in range(60):
        change = chance.choice((scene.client.control.pool_grow, scene.client.control.pool_shrink))
        change(chance.randint(1, 3), destination=[chance.choice(nodes)])
        if step % 12 == 6:
            with contextlib.suppress(psutil.NoSuchProcess):
                chance.choice(scene.hosts).process("engine").kill()
        time.sleep(0.5)


@row("a second beat on a host for 30 s")
def two_beats(scene: Scene) -> None:
    first = scene.left.process("beat")
    second = subprocess.Popen(
        first.cmdline(), env=first.environ(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(30.0)
    second.terminate()
    second.wait()
