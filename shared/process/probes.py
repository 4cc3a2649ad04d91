"""Answers `/livez` and `/readyz` over HTTP, for the probes of Kubernetes and of load balancers.

Callers: beat and every Celery worker, if HEALTH_PORT is set, and `whisper-fleet up` for its machine. `/livez` is about
this process alone: restarting it would not help against anything else. `/readyz` is what `whisper-fleet health` says.
A port that is in use costs the probes, not the process.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from whisper_fleet.shared.process.health import is_alive, problem_of
from whisper_fleet.shared.process.program import program_name, split_index
from whisper_fleet.shared.settings import Settings, load_settings

_log = logging.getLogger(__name__)

#: Seconds for which an answer of `/readyz` counts: a check may ping a node through Redis.
_FRESH = 2.0
#: Seconds that a client gets for its request.
_PATIENCE = 5.0


class Probes:
    """A server of the two pages in threads of its own; `problem` returns why the program cannot work now."""

    def __init__(self, address: str, port: int, lives: Callable[[], bool], problem: Callable[[], str | None]) -> None:
        self._lives, self._problem = lives, problem
        self._lock = threading.Lock()
        self._looked: float | None = None
        self._found: str | None = None
        self._server = ThreadingHTTPServer((address, port), self._handler())
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        """The port at which it listens."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answer until the process ends or `stop` is called."""
        threading.Thread(target=self._server.serve_forever, name="probes", daemon=True).start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, str]:
        """Return status and text for a path."""
        match path.partition("?")[0]:
            case "/livez":
                return (200, "ok") if self._lives() else (503, "this process makes no progress")
            case "/readyz":
                problem = self._fresh_problem()
                return (200, "ok") if problem is None else (503, problem)
        return 404, "there are /livez and /readyz"

    def _fresh_problem(self) -> str | None:
        with self._lock:  # so that many probes cost one check
            if self._looked is None or time.monotonic() - self._looked > _FRESH:
                self._found = self._problem()
                self._looked = time.monotonic()
            return self._found

    def _handler(probes: Probes) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            timeout = _PATIENCE

            def do_GET(self) -> None:  # the name that the library calls
                status, text = probes.answer(self.path)
                body = json.dumps({"status": text}).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing: probes come every few seconds."""

        return Handler


def start_probes(settings: Settings, lives: Callable[[], bool], problem: Callable[[], str | None]) -> Probes | None:
    """Start to answer at the port of the settings; None if there is none, or if it cannot be used."""
    if not settings.health_port:
        return None
    try:
        probes = Probes(settings.health_address, settings.health_port, lives, problem)
    except OSError as error:
        _log.error("no /livez and /readyz at port %s, choose another HEALTH_PORT: %s", settings.health_port, error)
        return None
    probes.start()
    return probes


def start_probes_of_process() -> Probes | None:
    """Answer for this process of the fleet, by the settings of `load_settings()`."""
    settings = load_settings()
    program, index = split_index(program_name())
    return start_probes(settings, is_alive, lambda: problem_of(program, settings, index))
