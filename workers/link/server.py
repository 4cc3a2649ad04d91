"""The server side of the engine's socket: one thread that moves frames until the node closes our standard input.

Requests go to the engine, replies come back through futures. When a connection closes, the server has the engine
forget its session. The Unix socket has mode 0600.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pydantic
import torch
from torch import Tensor

from whisper_fleet.shared.errors import EngineError, EngineRequestInvalid
from whisper_fleet.workers.link import framing, protocol
from whisper_fleet.workers.link.protocol import PREFIX, Failed, Reply, Request

log = logging.getLogger(__name__)

#: A reply of the engine, and the tensor that belongs to it.
ReplyAndTensor = tuple[Reply, Tensor | None]


class Engine(Protocol):
    """What the server needs from an engine. Both methods are thread-safe and return at once."""

    def submit(self, session: int, request: Request, tensor: Tensor | None) -> Future[ReplyAndTensor]:
        """Start a request of a session; its tensor is the window, if one was sent."""

    def forget(self, session: int) -> None:
        """Drop a session whose connection is closed, and its request in flight."""


@dataclass(eq=False)
class Connection:
    """One client: the frame being received, and the frames to send."""

    socket: socket.socket
    session: int
    missing: memoryview = field(default_factory=lambda: memoryview(b""))  # the part of a buffer not yet received
    on_received: Callable[[], None] = lambda: None
    outbox: deque[memoryview] = field(default_factory=deque)
    closed: bool = False

    def expect(self, buffer: Any, on_received: Callable[[], None]) -> None:
        """Receive the next bytes into this buffer; call `on_received` when it is full."""
        self.missing, self.on_received = memoryview(buffer).cast("B"), on_received


class Server:
    """A server of an engine on a Unix socket, which runs until `stdin` ends or `stop` is called.

    `pinned` receives tensors in pinned memory, from which a GPU copies asynchronously.
    """

    def __init__(self, engine: Engine, path: Path, stdin: int, *, pinned: bool = False) -> None:
        self._engine = engine
        self._path = path
        self._stdin = stdin
        self._pinned = pinned
        self._sessions = 0
        self._selector = selectors.DefaultSelector()
        self._finished: deque[tuple[Connection, Future[ReplyAndTensor]]] = deque()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._listener = _listen(path)
        self._running = True
        self._is_at_file_limit = False

    def stop(self) -> None:
        """Make `serve` return soon; it may be called from any thread."""
        self._running = False
        self._wake()

    def serve(self) -> None:
        """Move frames until the node closes our standard input or `stop` is called."""
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._stdin, selectors.EVENT_READ, self._read_stdin)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._send_replies)
        try:
            while self._running:
                for key, events in self._selector.select():
                    self._handle(key.data, events)
        finally:
            self._path.unlink(missing_ok=True)
            for key in list(self._selector.get_map().values()):
                if isinstance(key.data, Connection):
                    self._close(key.data)
            self._listener.close()

    def _handle(self, data: Connection | Callable[[], None], events: int) -> None:
        if not isinstance(data, Connection):
            data()
            return
        try:
            if events & selectors.EVENT_READ:
                self._read(data)
            if events & selectors.EVENT_WRITE and not data.closed:
                self._write(data)
        except OSError:
            self._close(data)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError as error:
            # Too many open files. New clients wait in the listener's backlog until a connection closes.
            log.warning("new connections wait until another one closes: %s", error)
            self._selector.unregister(self._listener)
            self._is_at_file_limit = True
            return
        client.setblocking(False)
        self._sessions += 1
        connection = Connection(client, self._sessions)
        self._await_frame(connection)
        self._selector.register(client, selectors.EVENT_READ, connection)

    def _read_stdin(self) -> None:
        if not os.read(self._stdin, 4096):
            log.info("the node has closed our standard input: stopping")
            self._running = False

    def _read(self, connection: Connection) -> None:
        received = connection.socket.recv_into(connection.missing)
        if not received:
            self._close(connection)
            return
        connection.missing = connection.missing[received:]
        while not connection.missing and not connection.closed:
            connection.on_received()

    def _await_frame(self, connection: Connection) -> None:
        prefix = bytearray(PREFIX.size)
        connection.expect(prefix, lambda: self._await_text(connection, *PREFIX.unpack(prefix)))

    def _await_text(self, connection: Connection, json_bytes: int, tensor_bytes: int) -> None:
        if json_bytes > protocol.MAX_JSON_BYTES or tensor_bytes > protocol.MAX_TENSOR_BYTES:
            log.warning("closed the connection of a client that announced %d + %d bytes", json_bytes, tensor_bytes)
            self._close(connection)
            return
        text = bytearray(json_bytes)
        connection.expect(text, lambda: self._await_tensor(connection, text, tensor_bytes))

    def _await_tensor(self, connection: Connection, text: bytearray, tensor_bytes: int) -> None:
        raw = torch.empty(tensor_bytes, dtype=torch.uint8, pin_memory=self._pinned and tensor_bytes > 0)
        connection.expect(raw.numpy(), lambda: self._submit(connection, text, raw))

    def _submit(self, connection: Connection, text: bytearray, raw: Tensor) -> None:
        self._await_frame(connection)
        try:
            request = protocol.read_request(text)
            spec = getattr(request, "tensor", None)
            tensor = framing.read_tensor(spec, raw) if spec else None
        except (pydantic.ValidationError, ValueError) as error:
            self._reply(connection, (_failure(EngineRequestInvalid(reason=str(error))), None))
            return
        future = self._engine.submit(connection.session, request, tensor)
        future.add_done_callback(lambda finished: self._queue_reply(connection, finished))

    def _queue_reply(self, connection: Connection, finished: Future[ReplyAndTensor]) -> None:
        """Pass a finished request from the thread of the engine to the thread of the server."""
        self._finished.append((connection, finished))
        self._wake()

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"!")
        except BlockingIOError:
            return  # the pipe is full, so the thread will wake up anyway

    def _send_replies(self) -> None:
        os.read(self._wake_read, 4096)
        while self._finished:
            connection, future = self._finished.popleft()
            if not connection.closed and not future.cancelled():
                error = future.exception()
                self._reply(connection, (_failure(error), None) if error else future.result())

    def _reply(self, connection: Connection, reply: ReplyAndTensor) -> None:
        connection.outbox.extend(memoryview(part) for part in framing.frame(*reply))
        try:
            self._write(connection)
        except OSError:
            self._close(connection)

    def _write(self, connection: Connection) -> None:
        while connection.outbox:
            try:
                sent = connection.socket.send(connection.outbox[0])
            except BlockingIOError:
                break
            if sent == len(connection.outbox[0]):
                connection.outbox.popleft()
            else:
                connection.outbox[0] = connection.outbox[0][sent:]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.outbox else 0)
        self._selector.modify(connection.socket, events, connection)

    def _close(self, connection: Connection) -> None:
        if not connection.closed:
            connection.closed = True
            self._selector.unregister(connection.socket)
            connection.socket.close()
            self._engine.forget(connection.session)
            if self._is_at_file_limit:
                self._is_at_file_limit = False
                self._selector.register(self._listener, selectors.EVENT_READ, self._accept)


def _listen(path: Path) -> socket.socket:
    """Return a listening socket that only this user can connect to; a stale one at the path is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(1024)
    return listener


def _failure(error: BaseException) -> Failed:
    """Return the reply that reports an error; an error that is not an EngineError is logged."""
    if isinstance(error, EngineError):
        return Failed(error=type(error).__name__, message=str(error))
    log.error("a request failed with an unexpected error", exc_info=error)
    return Failed(error=EngineError.__name__, message=f"{type(error).__name__}: {error}")
