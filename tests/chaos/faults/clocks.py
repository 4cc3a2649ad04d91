"""A host whose clock is wrong. Its processes read the time through a shim, so the fleet's real code meets it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.chaos.rows import Row, add
from tests.chaos.scene.scene import Scene

_SOURCE = Path(__file__).parents[1] / "scene" / "clock.c"
_OFFSETS = {"ahead": 300, "behind": -300}


@contextmanager
def _wrong_clock(offset: int, scene: Scene) -> Iterator[None]:
    shim = scene.folder / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(shim), str(_SOURCE), "-ldl"], check=True)
    scene.right.stop()
    scene.right.start(LD_PRELOAD=str(shim), CHAOS_CLOCK_OFFSET=str(offset))
    scene.wait_ready()
    yield
    scene.right.stop()


def _kill_both_nodes(scene: Scene) -> None:
    """Deaths on both sides, so that each host judges the heartbeats and leases of the other."""
    for host in scene.hosts:
        host.process("gpu0").kill()


for _name, _offset in _OFFSETS.items():
    add(
        Row(
            name=f"clock of a host five minutes {_name}, nodes killed",
            fault=_kill_both_nodes,
            staging=partial(_wrong_clock, _offset),
            needs=("compiler",),
        )
    )
