"""Reports that an intake node is up, with its processes and how many messages it has accepted.

Recovery notices requests that no node accepts. While Redis is unreachable nothing is reported, and the node counts as
down until it is back. A node that starts forgets the places of the one before it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from celery.worker import state

from whisper_fleet.scheduler.intake.node.reports import report_intake, withdraw_intake
from whisper_fleet.scheduler.intake.places.places import forget_places
from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.connect import Outage

_INTERVAL = 3.0
_REPORTS = Outage("reporting this intake", logging.getLogger(__name__))


class Presence:
    """Reports one node from a thread, from the start of the node to its end."""

    def __init__(self, services: Callable[[], Services], node: str, processes: int) -> None:
        self._services = services
        self._node = node
        self._processes = processes
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Begin to report."""
        self._thread.start()

    def stop(self) -> None:
        """Report that the node stops, without waiting for Redis."""
        self._stopped.set()

    def report(self) -> None:
        """Report the node once."""
        fleet, accepted = self._services(), sum(state.total_count.values())
        report_intake(fleet.redis, self._node, self._processes, accepted, fleet.ledger.now())

    def _run(self) -> None:
        with _REPORTS.ignored():
            forget_places(self._services().redis, self._services().settings.host)
        while not self._stopped.is_set():
            with _REPORTS.ignored():
                self.report()
            self._stopped.wait(_INTERVAL)
        with _REPORTS.ignored():
            withdraw_intake(self._services().redis, self._node)
