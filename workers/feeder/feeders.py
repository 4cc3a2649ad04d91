"""The node's side: keeps the feeders running, and has segments transcribed in them.

Its caller is the node. A segment goes to the feeder with the fewest segments, and the slot's thread answers what that
asks. While no feeder answers, the node transcribes by itself. A feeder that ends takes its own segments along, which
return to the queue with an attempt counted, because one of them may be the cause.
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from whisper_fleet.shared import errors
from whisper_fleet.shared.errors import FeederDied, FleetError
from whisper_fleet.shared.wire import SegmentResult, SegmentWork
from whisper_fleet.workers.child_process import ChildProcess
from whisper_fleet.workers.feeder.messages import (
    Begin,
    Continue,
    Detected,
    Done,
    Enter,
    Failed,
    Window,
    read_from_feeder,
)
from whisper_fleet.workers.node.transcription import Transcriber
from whisper_fleet.workers.whisper.proxy import OnLanguage, OnText, OnWindow

_log = logging.getLogger(__name__)


class Feeder:
    """One feeder process, and the number of segments that it has."""

    def __init__(self, number: int, engine: Path, cores: int) -> None:
        self.path = engine.with_name(f"{engine.stem}.{number}{engine.suffix}")
        self.segments = 0
        module = "whisper_fleet.workers.feeder"
        options = ["--socket", str(self.path), "--engine", str(engine), "--cores", str(cores)]
        command = [sys.executable, "-m", module, *options]
        self.process = ChildProcess(f"feeder {number}", command, {"CUDA_VISIBLE_DEVICES": ""}, self._answers, _ignore)

    def connect(self) -> Connection | None:
        """Return a connection for one segment; None if the feeder does not answer."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            client.connect(str(self.path))
        except OSError:
            client.close()
            return None
        return Connection(client.detach())

    def _answers(self) -> bool:
        connection = self.connect()
        if connection is not None:
            connection.close()
        return connection is not None


class Feeders:
    """Transcribes segments as `local` does, in feeders if there are any; thread-safe."""

    def __init__(self, local: Transcriber, engine: Path, cores: int) -> None:
        self._local = local
        self._engine = engine
        self._cores = cores
        self._lock = threading.Lock()
        self._feeders: list[Feeder] = []
        self._is_stopped = False

    def grow_to(self, count: int) -> None:
        """Start feeders until there are this many. They stay when slots go: slots come back, and a start takes time."""
        with self._lock:
            if self._is_stopped:
                return
            for number in range(len(self._feeders) + 1, count + 1):
                feeder = Feeder(number, self._engine, max(2, self._cores // count))
                feeder.process.start()
                self._feeders.append(feeder)

    def stop(self) -> None:
        """End all feeders; the pool has drained before."""
        with self._lock:
            self._is_stopped = True
            feeders = list(self._feeders)
        for feeder in feeders:
            feeder.process.stop()
            feeder.path.unlink(missing_ok=True)

    def transcribe(
        self, work: SegmentWork, on_window: OnWindow, on_language: OnLanguage, on_text: OnText
    ) -> SegmentResult:
        """Return what `Transcriber.transcribe` returns; raises what that raises, and FeederDied."""
        with self._connection() as connection:
            if connection is None:
                return self._local.transcribe(work, on_window, on_language, on_text)
            try:
                return self._follow(connection, work, on_window, on_language, on_text)
            except (EOFError, BrokenPipeError, ConnectionResetError) as error:
                raise FeederDied from error

    @contextmanager
    def _connection(self) -> Iterator[Connection | None]:
        """Yield a connection to the feeder with the fewest segments; None if none answers."""
        with self._lock:
            ready = [feeder for feeder in self._feeders if feeder.process.ready]
            feeder = min(ready, key=lambda feeder: feeder.segments, default=None)
            if feeder is not None:
                feeder.segments += 1
        try:
            connection = feeder.connect() if feeder is not None else None
            with ExitStack() as stack:
                yield None if connection is None else stack.enter_context(connection)
        finally:
            with self._lock:
                if feeder is not None:
                    feeder.segments -= 1

    def _follow(
        self,
        connection: Connection,
        work: SegmentWork,
        on_window: OnWindow,
        on_language: OnLanguage,
        on_text: OnText,
    ) -> SegmentResult:
        """Answer the feeder's questions until it reports the end; what the callbacks raise closes the connection."""
        connection.send_bytes(Begin(work=work).to_json().encode())
        with ExitStack() as admitted:
            while True:
                message = read_from_feeder(connection.recv_bytes())
                answer = Continue()
                match message:
                    case Done():
                        return message.result
                    case Failed():
                        raise _error(message)
                    case Window():
                        if message.text is not None:
                            on_text(message.text)
                        on_window(message.seconds_done)
                    case Enter():
                        waiting = partial(on_window, 0.0)
                        admission = self._local.admission
                        admitted.enter_context(admission.entered(alone=message.alone, while_waiting=waiting))
                    case Detected():
                        answer = Continue(language=on_language(message.language, message.probability))
                connection.send_bytes(answer.to_json().encode())


def _error(failed: Failed) -> Exception:
    """Return the error that a feeder reports; an unexpected one keeps its name in the message."""
    kind = getattr(errors, failed.error, None)
    if isinstance(kind, type) and issubclass(kind, FleetError):
        return kind(failed.message)
    return RuntimeError(f"{failed.error}: {failed.message}")


def _ignore() -> None:
    """Do nothing: the next segment looks which feeders are ready."""
