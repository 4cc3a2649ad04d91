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
    RELOAD,
    Begin,
    Continue,
    Detected,
    Done,
    Enter,
    Failed,
    FromFeeder,
    Window,
    read_from_feeder,
)
from whisper_fleet.workers.node.transcription import Transcriber
from whisper_fleet.workers.whisper.proxy import OnLanguage, OnText, OnWindow

_log = logging.getLogger(__name__)


class Feeder:
    """One feeder process, and the number of segments that it has."""

    def __init__(self, number: int, engine: Path, cores: int) -> None:
        # No longer than the engine's path, which is short enough for a socket.
        self.path = engine.with_name(engine.name.replace("engine", f"feed{number}", 1))
        self.segments = 0
        module = "whisper_fleet.workers.feeder"
        options = ["--socket", str(self.path), "--engine", str(engine), "--cores", str(cores)]
        command = [sys.executable, "-m", module, *options]
        self.process = ChildProcess(f"feeder {number}", command, {"CUDA_VISIBLE_DEVICES": ""}, self._answers, _ignore)

    def kill(self) -> None:
        """End a feeder that asks and answers nothing; it is started again."""
        self.process.kill()

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


class FeederLink:
    """The connection of one segment to its feeder. It raises FeederDied if the feeder ends, or is silent for too long.

    A feeder speaks before every window. One that is silent is frozen: it is killed, and its segments run again.
    """

    def __init__(self, connection: Connection, feeder: Feeder, silence: float) -> None:
        self._connection, self._feeder, self._silence = connection, feeder, silence

    def send(self, message: Begin | Continue) -> None:
        try:
            self._connection.send_bytes(message.to_json().encode())
        except OSError as error:
            raise FeederDied from error

    def receive(self) -> FromFeeder:
        try:
            if self._connection.poll(self._silence):
                return read_from_feeder(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            raise FeederDied from error
        _log.error("the %s was silent for %.0f s and is killed", self._feeder.process.name, self._silence)
        self._feeder.kill()
        raise FeederDied


class Feeders:
    """Transcribes segments as `local` does, in feeders if there are any; thread-safe."""

    def __init__(self, local: Transcriber, engine: Path, cores: int, silence: float) -> None:
        """Make feeders for the engine at this socket, on a host with these cores.

        `silence` is the time in seconds after which a feeder counts as frozen: longer than an engine may be.
        """
        self._local = local
        self._silence = silence
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

    def reload(self) -> None:
        """Have the feeders read the settings file again."""
        with self._lock:
            feeders = list(self._feeders)
        for feeder in feeders:
            feeder.process.send(RELOAD)

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
        with self._link() as link:
            if link is None:
                return self._local.transcribe(work, on_window, on_language, on_text)
            return self._follow(link, work, on_window, on_language, on_text)

    def discard_audio(self, work: SegmentWork) -> None:
        """Delete the spooled audio of a segment whose result is stored."""
        self._local.discard_audio(work)

    @contextmanager
    def _link(self) -> Iterator[FeederLink | None]:
        """Yield a link to the feeder with the fewest segments; None if none answers."""
        with self._lock:
            ready = [feeder for feeder in self._feeders if feeder.process.ready]
            feeder = min(ready, key=lambda feeder: feeder.segments, default=None)
            if feeder is not None:
                feeder.segments += 1
        try:
            connection = feeder.connect() if feeder is not None else None
            if feeder is None or connection is None:
                yield None
            else:
                with connection:
                    yield FeederLink(connection, feeder, self._silence)
        finally:
            with self._lock:
                if feeder is not None:
                    feeder.segments -= 1

    def _follow(
        self, link: FeederLink, work: SegmentWork, on_window: OnWindow, on_language: OnLanguage, on_text: OnText
    ) -> SegmentResult:
        """Answer the feeder's questions until it reports the end; what the callbacks raise closes the connection."""
        link.send(Begin(work=work))
        with ExitStack() as admitted:
            while True:
                message = link.receive()
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
                link.send(answer)


def _error(failed: Failed) -> Exception:
    """Return the error that a feeder reports; an unexpected one keeps its name in the message."""
    kind = getattr(errors, failed.error, None)
    if isinstance(kind, type) and issubclass(kind, FleetError):
        return kind(failed.message)
    return RuntimeError(f"{failed.error}: {failed.message}")


def _ignore() -> None:
    """Do nothing: the next segment looks which feeders are ready."""
