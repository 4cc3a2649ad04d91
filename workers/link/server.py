"""The engine's door: one thread serves a Unix socket (mode 0600) while the node holds our standard input.

It only moves frames. Requests go to the engine's inbox, replies come back through futures; a connection that
closes takes its session, and the row that works for it, away.
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

#: What a future of the engine holds: the reply and the tensor that goes with it.
Answer = tuple[Reply, Tensor | None]


class Engine(Protocol):
    """What the server needs of an engine; both calls return at once, from any thread."""

    def submit(self, session: int, request: Request, tensor: Tensor | None) -> Future[Answer]: ...

    def forget(self, session: int) -> None: ...


@dataclass(eq=False)
class Connection:
    """One client: the frame that arrives, the frames that leave."""

    socket: socket.socket
    session: int
    room: memoryview = field(default_factory=lambda: memoryview(b""))  # what is still missing goes here
    when_full: Callable[[], None] = lambda: None
    outbox: deque[memoryview] = field(default_factory=deque)
    closed: bool = False

    def expect(self, buffer: Any, when_full: Callable[[], None]) -> None:
        """The next bytes that arrive fill this buffer, and then `when_full` is called."""
        self.room, self.when_full = memoryview(buffer).cast("B"), when_full


class Server:
    """Serves an engine on a Unix socket until `stdin` ends or `stop` is called.

    `pinned`: tensors are received in memory that a GPU copies from by itself.
    """

    def __init__(self, engine: Engine, path: Path, stdin: int, *, pinned: bool = False) -> None:
        self._engine = engine
        self._path = path
        self._stdin = stdin
        self._pinned = pinned
        self._sessions = 0
        self._selector = selectors.DefaultSelector()
        self._answers: deque[tuple[Connection, Future[Answer]]] = deque()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._listener = _listen(path)
        self._running = True
        self._is_full = False

    def stop(self) -> None:
        """End `serve` soon; from any thread."""
        self._running = False
        self._wake()

    def serve(self) -> None:
        """Move frames until the node lets go of our standard input."""
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._stdin, selectors.EVENT_READ, self._read_stdin)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._send_answers)
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
            # As many files are open as may be. Who knocks waits in the listener's queue until a client has gone.
            log.warning("nobody else is let in for now: %s", error)
            self._selector.unregister(self._listener)
            self._is_full = True
            return
        client.setblocking(False)
        self._sessions += 1
        connection = Connection(client, self._sessions)
        self._await_frame(connection)
        self._selector.register(client, selectors.EVENT_READ, connection)

    def _read_stdin(self) -> None:
        if not os.read(self._stdin, 4096):
            log.info("the node is gone, so the engine ends")
            self._running = False

    def _read(self, connection: Connection) -> None:
        received = connection.socket.recv_into(connection.room)
        if not received:
            self._close(connection)
            return
        connection.room = connection.room[received:]
        while not connection.room and not connection.closed:
            connection.when_full()

    def _await_frame(self, connection: Connection) -> None:
        prefix = bytearray(PREFIX.size)
        connection.expect(prefix, lambda: self._await_text(connection, *PREFIX.unpack(prefix)))

    def _await_text(self, connection: Connection, json_bytes: int, tensor_bytes: int) -> None:
        if json_bytes > protocol.MAX_JSON_BYTES or tensor_bytes > protocol.MAX_TENSOR_BYTES:
            log.warning("a client announced a frame of %d and %d bytes and was cut off", json_bytes, tensor_bytes)
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
            self._answer(connection, (_failure(EngineRequestInvalid(reason=str(error))), None))
            return
        future = self._engine.submit(connection.session, request, tensor)
        future.add_done_callback(lambda done: self._deliver(connection, done))

    def _deliver(self, connection: Connection, done: Future[Answer]) -> None:
        """Runs in the engine's thread: leave the answer to ours."""
        self._answers.append((connection, done))
        self._wake()

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"!")
        except BlockingIOError:
            return  # the pipe is full of wake-ups already

    def _send_answers(self) -> None:
        os.read(self._wake_read, 4096)
        while self._answers:
            connection, done = self._answers.popleft()
            if not connection.closed and not done.cancelled():
                error = done.exception()
                self._answer(connection, (_failure(error), None) if error else done.result())

    def _answer(self, connection: Connection, answer: Answer) -> None:
        connection.outbox.extend(memoryview(part) for part in framing.frame(*answer))
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
            if self._is_full:
                self._is_full = False
                self._selector.register(self._listener, selectors.EVENT_READ, self._accept)


def _listen(path: Path) -> socket.socket:
    """A listening socket that only this user can reach, in place of a stale one."""
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
    if isinstance(error, EngineError):
        return Failed(error=type(error).__name__, message=str(error))
    log.error("a request failed in an unforeseen way", exc_info=error)
    return Failed(error=EngineError.__name__, message=f"{type(error).__name__}: {error}")
