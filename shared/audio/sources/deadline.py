"""HTTP with one deadline for the whole call; a socket's timeout begins again with every byte.

The look-up of the host's name counts, too. The operating system's resolver has no timeout of its own that a program
could set, so it runs in a thread, which is left behind when the time is over.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any

_SILENCE_SECONDS = 30.0  # without a byte
#: Look-ups that are under way, those left behind included; each ends when the resolver gives up, within a minute or so.
_LOOKUPS = threading.BoundedSemaphore(16)


class _Call:
    """The sockets of one call; at the deadline they are shut down, which ends whatever waits for them."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.is_over = False

    def watch(self, connected: socket.socket) -> None:
        with self._lock:
            self._sockets.append(connected)
            if self.is_over:
                _shut_down(connected)

    def end(self) -> None:
        with self._lock:
            self.is_over = True
            for connected in self._sockets:
                _shut_down(connected)

    def connect(self, address: tuple[str, int], *options: Any) -> socket.socket:
        """Connect to the first address of a host that answers, as `socket.create_connection` does."""
        host, port = address
        problem: OSError | None = None
        for found in looked_up(host, port, self._deadline - time.monotonic()):
            try:
                return socket.create_connection((found, port), *options)
            except OSError as error:
                problem = error
        raise problem or OSError(f"{host} has no address")


def looked_up(host: str, port: int, seconds: float) -> list[str]:
    """Return the addresses of a host; TimeoutError if the look-up takes longer than `seconds`."""
    answers: list[list[str] | OSError] = []

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.append(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
        except OSError as error:
            answers.append(error)
        except UnicodeError:  # a name that no host can have
            answers.append(OSError(f"{host!r} is no host name"))
        finally:
            _LOOKUPS.release()

    if not _LOOKUPS.acquire(timeout=max(seconds, 0.0)):
        raise TimeoutError("too many look-ups of host names are under way")
    thread = threading.Thread(target=look_up, name="look-up", daemon=True)
    thread.start()
    thread.join(max(seconds, 0.0))
    if not answers:
        raise TimeoutError(f"the look-up of {host} took too long")
    if isinstance(answers[0], OSError):
        raise answers[0]
    return answers[0]


def _shut_down(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed already
        socket.socket.shutdown(connected, socket.SHUT_RDWR)  # of TLS, too, without its farewell


def _watched(make: Callable[..., HTTPConnection], call: _Call) -> Callable[..., HTTPConnection]:
    """Return a maker of the same connections, whose sockets the call watches."""

    def watched(host: str, **options: Any) -> HTTPConnection:
        connection = make(host, **options)
        connect = connection.connect

        def connect_watched() -> None:
            connect()
            call.watch(connection.sock)

        connection.connect = connect_watched  # type: ignore[method-assign]
        connection._create_connection = call.connect  # type: ignore[attr-defined]  # http.client's own hook
        return connection

    return watched


class _Http(urllib.request.HTTPHandler):
    def __init__(self, call: _Call) -> None:
        super().__init__()
        self._call = call

    def do_open(self, http_class: Any, req: urllib.request.Request, **options: Any) -> HTTPResponse:
        return super().do_open(_watched(http_class, self._call), req, **options)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, call: _Call) -> None:
        super().__init__()
        self._call = call

    def do_open(self, http_class: Any, req: urllib.request.Request, **options: Any) -> HTTPResponse:
        return super().do_open(_watched(http_class, self._call), req, **options)


@contextlib.contextmanager
def opened_within(
    seconds: float, request: str | urllib.request.Request, *handlers: urllib.request.BaseHandler
) -> Iterator[HTTPResponse]:
    """Send a request and provide the response; TimeoutError if the context lasts longer than `seconds`.

    A server that sends a byte now and then, in its headers or its body, does not prolong it.
    """
    call = _Call(seconds)
    timer = threading.Timer(seconds, call.end)
    timer.daemon = True
    timer.start()
    try:
        opener = urllib.request.build_opener(_Http(call), _Https(call), *handlers)
        with opener.open(request, timeout=min(_SILENCE_SECONDS, seconds)) as response:
            yield response
    except Exception:
        if not call.is_over:
            raise
    finally:
        timer.cancel()
    if call.is_over:  # whatever the shutdown looked like to the reader: an error, or the end of the body
        raise TimeoutError(f"it took longer than {seconds:g} s")
