"""A web server that serves a folder, and pages that never end."""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Site:
    """The address of the server, and how many requests each of its pages had."""

    url: str
    seen: dict[str, int]
    done: threading.Event  # ends the pages that never end


class _Pages(http.server.SimpleHTTPRequestHandler):
    """Files of the folder; `/slow/…` sends a byte per second, `/endless/…` sends as fast as it can."""

    done: threading.Event
    seen: dict[str, int]

    def do_GET(self) -> None:
        kind = self.path.strip("/").split("/")[0]
        self.seen[kind] = self.seen.get(kind, 0) + 1
        if kind not in ("slow", "endless"):
            super().do_GET()
            return
        self.send_response(200)
        self.end_headers()
        self._pour(b"R" if kind == "slow" else bytes(65536), 1.0 if kind == "slow" else 0.0)

    def do_POST(self) -> None:
        """Answer a callback with a header line per second."""
        self.seen["callback"] = self.seen.get("callback", 0) + 1
        self._pour(b"X-Slow: 1\r\n", 1.0)

    def _pour(self, piece: bytes, pause: float) -> None:
        with contextlib.suppress(OSError):
            while not self.done.wait(pause):
                self.wfile.write(piece)
                self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    """Serve the folder while the context lasts."""
    seen: dict[str, int] = {}
    done = threading.Event()
    pages = type("Pages", (_Pages,), {"done": done, "seen": seen})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(pages, directory=str(folder))) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Site(f"http://127.0.0.1:{server.server_port}/", seen, done)
        finally:
            done.set()
            server.shutdown()
            thread.join()
