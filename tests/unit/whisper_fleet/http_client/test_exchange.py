"""One request to a server that is down, busy, wrong or hostile, and what becomes of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from whisper_fleet.errors import RequestError, ServerRefused, ServerUnreachable
from whisper_fleet.http_client.exchange import Exchange

Reply = tuple[int, dict[str, str], bytes]


@contextmanager
def serving(*replies: Reply) -> Iterator[tuple[str, list[str]]]:
    """Serve these replies, the last one again and again; yields the address and the requests' keys."""
    left, keys = list(replies), list[str]()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(self.headers.get("authorization", ""))
            status, headers, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", keys
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def error(status: int, message: str, **headers: str) -> Reply:
    return status, headers, json.dumps({"error": {"message": message}}).encode()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, in seconds; none of them is waited for."""
    made = list[float]()
    monkeypatch.setattr(time, "sleep", made.append)
    return made


DONE: Reply = (200, {}, b"{}")


def test_a_busy_server_is_asked_again_when_it_says(pauses: list[float]) -> None:
    busy = error(429, "busy", **{"retry-after": "7"})
    with serving(busy, error(503, "starts"), DONE) as (url, keys):
        assert Exchange(url, "wf_1").request("GET", "/x").json() == {}
    assert keys == ["Bearer wf_1"] * 3
    assert pauses[0] == 7.0 and 0 < pauses[1] < 7


def test_a_server_that_stays_down_is_unreachable() -> None:
    with serving(error(503, "no room")) as (url, _), pytest.raises(ServerUnreachable, match="no room"):
        Exchange(url, None).request("GET", "/x", patience=0)
    with pytest.raises(ServerUnreachable, match="refused"):
        Exchange(url, None).request("GET", "/x", patience=0)


@pytest.mark.parametrize(
    ("reply", "kind", "message"),
    [
        (error(400, "language: no"), RequestError, "language: no"),
        (error(401, "no key"), ServerRefused, "401: no key"),
        (error(500, "failed"), ServerRefused, "500: failed"),
        ((404, {}, b"<html>"), ServerRefused, "is it the fleet's HTTP server"),
        ((413, {}, b"[]"), ServerRefused, "413"),
        ((302, {"location": "http://elsewhere.example/"}, b""), ServerRefused, "redirects to http://elsewhere"),
    ],
)
def test_refusals_are_errors_that_say_why(reply: Reply, kind: type[Exception], message: str) -> None:
    with serving(reply, DONE) as (url, keys), pytest.raises(kind, match=message):
        Exchange(url, "wf_1").request("GET", "/x")
    assert len(keys) == 1  # neither repeated nor sent elsewhere


def test_accepted_statuses_are_returned() -> None:
    with serving(error(404, "none")) as (url, _):
        response = Exchange(url, None).request("GET", "/x", accepted=(404,))
    assert (response.status, response.error["message"]) == (404, "none")


def test_what_does_not_speak_http_is_unreachable(free_line: Callable[[bytes], str]) -> None:
    with pytest.raises(ServerUnreachable):
        Exchange(free_line(b"SSH-2.0\r\n"), None).request("GET", "/x", patience=0)


@pytest.fixture
def free_line() -> Iterator[Callable[[bytes], str]]:
    """A function that starts a TCP server which says one line, and returns its address as of a web server."""
    import socketserver

    servers = list[socketserver.TCPServer]()

    def start(line: bytes) -> str:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.recv(4096)
                self.request.sendall(line)

        server = socketserver.TCPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
