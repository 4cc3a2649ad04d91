"""TLS in front of a Redis that was built without it: a proxy on the loopback interface, with its own certificate."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """Return a certificate for 127.0.0.1, signed by itself, and its key."""
    certificate, key = directory / "redis.crt", directory / "redis.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subject = ["-days", "2", "-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *files, *subject], check=True, capture_output=True)
    return certificate, key


@contextlib.contextmanager
def tls_proxy(port: int, certificate: Path, key: Path) -> Iterator[int]:
    """Accept TLS connections, and pass them on to a plain port; yields the port of the proxy."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        threading.Thread(target=_accept, args=(listener, context, port), daemon=True).start()
        yield int(listener.getsockname()[1])


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # the test has ended
            return
        threading.Thread(target=_serve, args=(client, context, port), daemon=True).start()


def _serve(client: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """Copy in both directions in one thread: a TLS connection must not be read and written at the same time."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port)) as server,
        context.wrap_socket(client, server_side=True) as encrypted,
    ):
        other: dict[socket.socket, socket.socket] = {encrypted: server, server: encrypted}
        while True:
            readable = [encrypted] if encrypted.pending() else select.select([encrypted, server], [], [])[0]
            for source in readable:
                if not (data := source.recv(65536)):
                    return
                other[source].sendall(data)
