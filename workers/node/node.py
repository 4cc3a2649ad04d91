"""The GPU node: an engine, the slots that use it, and its place in the fleet."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Protocol

from celery import Celery

from whisper_fleet.shared.host import read_host
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.names import GpuName
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.tracing.lost import traced_loss
from whisper_fleet.workers.feeder.count import feeders_for
from whisper_fleet.workers.feeder.feeders import Feeders
from whisper_fleet.workers.node.admission import Admission
from whisper_fleet.workers.node.connections import REPORTS, connections_to
from whisper_fleet.workers.node.context import NodeContext
from whisper_fleet.workers.node.engine_command import device_of, engine_command, engine_environment, engine_socket
from whisper_fleet.workers.node.engine_monitor import EngineMonitor
from whisper_fleet.workers.node.engine_process import EngineProcess
from whisper_fleet.workers.node.heartbeat import Heartbeat
from whisper_fleet.workers.node.status import NodeIdentity
from whisper_fleet.workers.node.transcription import Transcriber
from whisper_fleet.workers.pool.slots import Slots

log = logging.getLogger(__name__)

#: A feeder may be silent for this many times as long as an engine, for whose reply it waits.
_SILENCE = 2.0


class Pool(Protocol):
    """What a node needs of its Celery pool; see SlotPool."""

    slots: Slots
    on_resize: Callable[[], None]

    def stop(self) -> None: ...


class Node:
    """The parts of a GPU node, and the order in which they start and stop."""

    def __init__(self, app: Celery, settings: Settings, name: str, pool: Pool) -> None:
        gpu = GpuName(settings.host, settings.gpu_index)
        identity = NodeIdentity(name=name, gpu=gpu, device=device_of(settings), started=time.time())
        self.gpu = str(gpu)
        self._pool = pool
        self.connections = connections_to(app, settings)
        self.engine = _engine_process(settings, identity, self._on_change)
        self._monitor = EngineMonitor(
            self.engine, lambda: pool.slots.limit, settings.heartbeat_interval, self._on_engine_resized
        )
        self._heartbeat = Heartbeat(identity, pool.slots, self.engine, self._monitor, self.connections, settings)
        #: What attempts need of the node.
        self.context = NodeContext(self.gpu, settings, self.connections, self.engine.wait_ready)
        local = Transcriber(gpu=self.gpu, settings=settings, engine=self.engine.client, admission=Admission())
        self._settings, self._cores = settings, read_host().cores
        #: Transcribes segments, in feeders if there are slots enough for them.
        self.transcriber = Feeders(local, engine_socket(settings), self._cores, _SILENCE * settings.engine_timeout)

    def start(self) -> None:
        """Start the engine, and join the fleet as soon as it answers; return at once."""
        with REPORTS.ignored():
            self._return_leftovers()
        self._pool.on_resize = self._on_resize
        self._start_feeders()
        self.engine.start()
        self._monitor.loop.start()
        self._heartbeat.loop.start()

    def stop(self) -> None:
        """Take no more segments, let the pool end those that run, then leave the fleet."""
        self._heartbeat.drain()
        self._pool.stop()
        self._monitor.loop.stop()
        self._heartbeat.loop.stop()
        self.transcriber.stop()
        self.engine.stop()
        self._heartbeat.leave()
        self.connections.wake_dispatcher()

    def _return_leftovers(self) -> None:
        """Return at once what a process before this one held when it died; its leases would run for minutes.

        The GPU leaves the registry first: until the last heartbeat of that process is too old, the segments would be
        placed here again, and wait until this node is up.
        """
        client = self.connections.fail_fast
        GpuRegistry(client.redis).leave(self.gpu)
        for message, was_running in client.ledger.overdue(self.gpu, math.inf):
            log.warning("found %s, left behind", message)
            now = client.ledger.now()
            with traced_loss(client.redis, message, "its node died", now):
                client.actions.return_lost(message, "its node died", now, was_running=was_running)

    def _on_resize(self) -> None:
        self._start_feeders()
        self._on_change()

    def _start_feeders(self) -> None:
        wanted = self._settings.feeders
        self.transcriber.grow_to(feeders_for(self._pool.slots.limit, self._cores) if wanted is None else wanted)

    def _on_change(self) -> None:
        """Let the engine and the registry know at once that the pool was resized, or the engine came or went."""
        self._monitor.loop.wake()
        self._heartbeat.loop.wake()

    def _on_engine_resized(self) -> None:
        self._heartbeat.loop.wake()


def _engine_process(settings: Settings, identity: NodeIdentity, on_change: Callable[[], None]) -> EngineProcess:
    socket = engine_socket(settings)
    command = engine_command(settings, identity.device, socket)
    return EngineProcess(command, engine_environment(settings, identity.device), socket, on_change)


class _Current:
    """The node of this process, which Celery's bootstep makes and its task needs."""

    node: Node | None = None


def current_node() -> Node:
    """Return the node of this process; raises RuntimeError before its worker has started."""
    if _Current.node is None:
        raise RuntimeError("no GPU node: start it with `celery -A whisper_fleet.workers.app worker -P custom`")
    return _Current.node


def set_current_node(node: Node) -> None:
    """Make `node` the node of this process."""
    _Current.node = node
