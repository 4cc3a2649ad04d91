"""Runs the HTTP server of this host: `python -m whisper_fleet.http [PORT]`."""

from __future__ import annotations

import sys

import uvicorn

from whisper_fleet.http.app import create_app
from whisper_fleet.http.connections import Connection
from whisper_fleet.shared.display.json_log import log_to_stderr
from whisper_fleet.shared.display.log_records import configure_log_records
from whisper_fleet.shared.embedded_redis import local_settings
from whisper_fleet.shared.process.reload import reloader
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.settings.http import USUAL_HTTP

#: Connections at once; each costs a file descriptor.
_MOST_CONNECTIONS = 1000
#: Bytes of a request's line and headers.
_HEADER_BYTES = 2**16
#: Seconds for which responses may still be written when the server stops.
_STOP_SECONDS = 5


def main() -> None:
    """Serve until SIGTERM."""
    settings = local_settings()
    configure_log_records()
    log_to_stderr(settings, settings.log_level, "[%(asctime)s: %(levelname)s] %(message)s")
    port = int(sys.argv[1]) if len(sys.argv) > 1 else settings.http_port or USUAL_HTTP
    reloader.start(settings)
    uvicorn.Server(server_config(settings, port)).run()


def server_config(settings: Settings, port: int) -> uvicorn.Config:
    """Return how uvicorn serves the fleet."""
    return uvicorn.Config(
        create_app(settings),
        host=settings.http_address,
        port=port,
        http=Connection,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # a client could claim to be this machine
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        h11_max_incomplete_event_size=_HEADER_BYTES,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )


if __name__ == "__main__":
    main()
