"""The HTTP server in a thread of the test, on a free port."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from tests.support.redis_server import free_port
from tests.support.waiting import wait_until
from whisper_fleet.http.__main__ import server_config
from whisper_fleet.shared.settings import Settings


@contextmanager
def running_server(settings: Settings) -> Iterator[str]:
    """Serve while the context lasts, with the options of the product's own process; yields the address."""
    port = free_port()
    server = uvicorn.Server(server_config(settings, port))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        assert thread.is_alive()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
