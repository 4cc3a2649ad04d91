"""Reports the GPU to the registry, and ends an engine that is frozen or no longer answers."""

from __future__ import annotations

import logging
import time

from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.settings import Settings
from whisper_fleet.workers.node.connections import REPORTS, Connections
from whisper_fleet.workers.node.engine_monitor import EngineMonitor, FreezeDetector, Look
from whisper_fleet.workers.node.engine_process import EngineProcess
from whisper_fleet.workers.node.loop import Loop
from whisper_fleet.workers.node.status import NodeIdentity, gpu_status
from whisper_fleet.workers.pool.slots import Slots

_log = logging.getLogger(__name__)


class Heartbeat:
    """Reports every `heartbeat_interval`, and at once when woken; before the engine first answers, it reports nothing.

    Apart from the monitor's thread: an engine that does not answer must not keep the node from reporting it.
    """

    def __init__(
        self,
        identity: NodeIdentity,
        slots: Slots,
        engine: EngineProcess,
        monitor: EngineMonitor,
        connections: Connections,
        settings: Settings,
    ) -> None:
        self._identity, self._slots = identity, slots
        self._engine, self._monitor = engine, monitor
        self._engine_timeout = settings.engine_timeout
        self._freeze = FreezeDetector(settings.heartbeat_interval)
        self._connections = connections
        self._registry = GpuRegistry(connections.fail_fast.redis)
        self._is_draining = False  # set once, by the thread that stops the node
        self._logged: str | None = "nothing yet"  # the reason that was logged last
        self.loop = Loop("heartbeat", self._step, settings.heartbeat_interval)

    @property
    def why_not_ready(self) -> str | None:
        """The reason why the node takes no segments; None: it takes them."""
        if self._is_draining:
            return "the node is shutting down"
        if not self._engine.ready:
            return "the engine does not answer yet"
        if self._monitor.view.slots is None:  # its statistics are those of the engine before it
            return "the engine has not been set to the pool's size yet"
        return None

    def drain(self) -> None:
        """Report from now on that the node takes no segments."""
        self._is_draining = True
        self.loop.wake()

    def leave(self) -> None:
        """Stop reporting and take the GPU out of the registry."""
        self.loop.stop()
        with REPORTS.ignored():
            self._registry.leave(str(self._identity.gpu))

    def _step(self) -> None:
        if self._monitor.silent_seconds > self._engine_timeout:
            _log.error("the engine has not answered for %.0f s and is killed", self._engine_timeout)
            self._engine.kill()
        elif self._freeze.is_frozen(self._look()):
            _log.error("the engine neither answers nor computes and is killed: it is frozen")
            self._engine.kill()
        stats = self._monitor.view.stats
        if stats is None or self.loop.is_stopped:
            return
        status = gpu_status(self._identity, stats, self._slots, self._registry.now(), ready=self._is_ready())
        with REPORTS.ignored():
            self._registry.beat(status)
        if status.ready and status.busy < status.slots:
            self._connections.wake_dispatcher()

    def _look(self) -> Look | None:
        cpu_seconds = self._engine.cpu_seconds if self._engine.ready else None
        if cpu_seconds is None:
            return None
        return Look(at=time.monotonic(), answered=self._monitor.view.answered, cpu_seconds=cpu_seconds)

    def _is_ready(self) -> bool:
        reason = self.why_not_ready
        if reason != self._logged:
            _log.info("the node %s", "takes segments" if reason is None else f"takes no segments: {reason}")
            self._logged = reason
        return reason is None
