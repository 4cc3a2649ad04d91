"""Processes that are killed, frozen or asked to stop, each kind in turn, on the left host."""

from __future__ import annotations

import contextlib
import signal
import time
from functools import partial

import psutil

from tests.chaos.rows import Resumption, Row, add, row
from tests.chaos.scene.host import KINDS, Kind
from tests.chaos.scene.scene import Scene

#: How long a frozen process is frozen. Longer than the timeouts by which others notice it.
_FROZEN_SECONDS = 40.0
#: Kinds whose death takes running segments with it.
_HOLD_SEGMENTS = ("front", "supervisord", "gpu0", "engine", "feeder")


def _signal(number: signal.Signals, kind: Kind, scene: Scene) -> None:
    process = scene.left.process(kind)
    scene.wait_busy(scene.left)
    process.send_signal(number)


def _freeze(kind: Kind, scene: Scene) -> None:
    with scene.left.frozen(kind):
        time.sleep(_FROZEN_SECONDS)


for _kind in KINDS:
    _resumption: Resumption = "lost segments" if _kind in _HOLD_SEGMENTS else "progress"
    add(Row(name=f"SIGKILL {_kind}", fault=partial(_signal, signal.SIGKILL, _kind), resumption=_resumption))
for _kind in KINDS:
    add(Row(name=f"SIGTERM {_kind}", fault=partial(_signal, signal.SIGTERM, _kind)))
for _kind in KINDS:
    add(Row(name=f"SIGSTOP {_kind} for 40 s", fault=partial(_freeze, _kind)))


@row("power failure of a host", resumption="lost segments")
def power_failure(scene: Scene) -> None:
    """Everything on the left host dies at once, and it stays down until the load is done."""
    scene.wait_busy(scene.left)
    scene.left.kill()


@row("five deaths of nodes and engines in a row")
def five_deaths(scene: Scene) -> None:
    for host in (scene.left, scene.right, scene.left, scene.right, scene.left):
        kind: Kind = "engine" if host is scene.left else "gpu0"
        with contextlib.suppress(psutil.NoSuchProcess):
            host.process(kind).kill()
        time.sleep(2.0)
