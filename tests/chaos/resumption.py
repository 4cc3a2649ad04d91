"""How long a fleet takes to go on after a fault, seen from Redis."""

from __future__ import annotations

import threading
import time

import redis as redis_py

from tests.chaos.rows import Resumption
from tests.chaos.scene.scene import Scene

_LOOK_SECONDS = 0.05


class Resumed:
    """Watches, in a thread of its own, for the moment at which a row's fault no longer keeps segments waiting.

    It is made when the fault is over, or right after a death.
    """

    def __init__(self, scene: Scene, resumption: Resumption) -> None:
        self._scene = scene
        self._resumption = resumption
        self._lost = scene.running(scene.left.gpu) if resumption == "lost segments" else {}
        self._began = time.monotonic()
        self._stopped = threading.Event()
        self._seconds: float | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def seconds(self, timeout: float) -> float | None:
        """Return how long it took; None if it was not seen within `timeout` seconds."""
        self._thread.join(timeout)
        self._stopped.set()
        self._thread.join()
        return self._seconds

    def _watch(self) -> None:
        done = None
        while not self._stopped.wait(_LOOK_SECONDS):
            try:
                if self._resumption == "lost segments":
                    is_resumed = run_again(self._scene, self._lost)
                else:
                    now_done = self._scene.segments_done()
                    done = now_done if done is None else done
                    is_resumed = now_done is not None and done is not None and now_done > done
            except redis_py.RedisError:
                continue
            if is_resumed:
                self._seconds = time.monotonic() - self._began
                return


def run_again(scene: Scene, lost: dict[str, str]) -> bool:
    """Return whether each of these segments runs in another attempt, or is done."""
    for member, token in lost.items():
        record = scene.segment(member)
        is_new = record.get("state") == "running" and record.get("token") != token
        if record and not is_new and record.get("state") != "done":
            return False
    return True
