"""A GPU whose node is played by a thread: it transcribes every segment at once, into the name of its file."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty

from kombu.simple import SimpleQueue

from tests.support.fleet_processes import HOST, FleetProcesses
from tests.support.gpu_status import gpu_status
from tests.support.ledger_by_hand import result
from whisper_fleet.shared.ledger.actions import JobActions
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.wire import SegmentMessage

GPU = f"{HOST}.0"


@contextmanager
def node_by_hand(fleet: FleetProcesses) -> Iterator[None]:
    """A GPU that is up. Jobs of the tenant "fails" fail, and those of the tenant "waits" are never started."""
    now = time.time()
    up = gpu_status(HOST, device="cpu", uuid="cpu", slots=64, started=now, heartbeat=now)
    GpuRegistry(fleet.redis).beat(up)
    over = threading.Event()
    thread = threading.Thread(target=_serve, args=(fleet, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)


def _serve(fleet: FleetProcesses, over: threading.Event) -> None:
    ledger = Ledger(fleet.redis, fleet.settings)
    actions = JobActions(ledger, fleet.app)
    with fleet.app.connection_for_read() as connection, connection.SimpleQueue(f"gpu.{GPU}") as queue:
        while not over.is_set():
            if (message := _next(queue)) is not None:
                _transcribe(message, ledger, actions)


def _next(queue: SimpleQueue) -> SegmentMessage | None:
    try:
        message = queue.get(timeout=0.2)
    except Empty:
        return None
    message.ack()
    return SegmentMessage(**message.payload[1])


def _transcribe(message: SegmentMessage, ledger: Ledger, actions: JobActions) -> None:
    request = ledger.job(message.job).request
    if request.tenant == "waits":
        return
    ledger.start(message, GPU, 120.0, time.time())
    if request.tenant == "fails":
        actions.fail(message.job, "EngineRequestInvalid", "it fails by request", time.time())
        return
    actions.finish(message, result(Path(request.file_path).stem, GPU), time.time())
