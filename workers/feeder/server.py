"""The feeder's side: a thread per segment, which transcribes and asks the node for everything else.

Its caller is the feeder's main function. It knows the engine and the audio, and neither Celery nor Redis. If the node
closes a connection, its segment ends at the next question.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from whisper_fleet.shared.display.log_fields import log_fields, request_fields
from whisper_fleet.shared.errors import FleetError
from whisper_fleet.shared.names import GpuName
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import SegmentResult
from whisper_fleet.workers.feeder.messages import Begin, Continue, Detected, Done, Enter, Failed, Question, Window
from whisper_fleet.workers.link.client import EngineClient
from whisper_fleet.workers.node.transcription import Transcriber

_log = logging.getLogger(__name__)


class NodeClosed(Exception):
    """The node has ended the attempt."""


class FeederServer:
    """Accepts a connection per segment on a Unix socket that only this user can open."""

    def __init__(self, settings: Settings, path: Path, engine: Path) -> None:
        self._settings = settings
        self._gpu = str(GpuName(settings.host, settings.gpu_index))
        self._engine = EngineClient(engine)
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            self._listener.bind(str(path))
        finally:
            os.umask(before)
        self._listener.listen(1024)

    def start(self) -> None:
        """Serve in a daemon thread."""
        threading.Thread(target=self._accept, name="feeder", daemon=True).start()

    def _accept(self) -> None:
        while True:
            accepted, _ = self._listener.accept()
            node = Connection(accepted.detach())
            threading.Thread(target=self._serve, args=(node,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        with connection:
            try:
                begin = Begin.from_json(connection.recv_bytes())
            except (EOFError, OSError):  # the node only looked whether this feeder answers
                return
            try:
                self._answer(connection, begin)
            except (NodeClosed, OSError):
                _log.debug("the node ended the attempt at %s", begin.work.plan)

    def _answer(self, connection: Connection, begin: Begin) -> None:
        try:
            with log_fields(segment=begin.work.plan.index, **request_fields(begin.work.request)):
                answer: Done | Failed = Done(result=self._transcribe(NodeLink(connection), begin))
        except NodeClosed:
            raise
        except Exception as error:
            if not isinstance(error, FleetError):
                _log.exception("a transcription failed with an unexpected error")
            answer = Failed(error=type(error).__name__, message=str(error))
        connection.send_bytes(answer.to_json().encode())

    def _transcribe(self, node: NodeLink, begin: Begin) -> SegmentResult:
        transcriber = Transcriber(gpu=self._gpu, settings=self._settings, engine=self._engine, admission=node)
        return transcriber.transcribe(begin.work, node.report, node.language_of_job, node.note_text)


class NodeLink:
    """What a transcription asks of the node. Every question raises NodeClosed if the node has ended the attempt."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._text = self._sent_text = ""

    def note_text(self, text: str) -> None:
        """Note the text of the segment so far, for the next report."""
        self._text = text

    def report(self, seconds_done: float) -> None:
        """Have the node decide whether the attempt goes on; called before every window."""
        self._ask(Window(seconds_done=seconds_done, text=self._text if self._text != self._sent_text else None))
        self._sent_text = self._text

    def language_of_job(self, language: str, probability: float) -> str:
        """Report the language that was detected; return the one to transcribe in."""
        return self._ask(Detected(language=language, probability=probability)).language or language

    @contextmanager
    def entered(self, *, alone: bool, while_waiting: Callable[[], None]) -> Iterator[None]:
        """Wait for admission to the engine, which the node gives up; it calls a `while_waiting` of its own."""
        self._ask(Enter(alone=alone))
        yield

    def _ask(self, question: Question) -> Continue:
        try:
            self._connection.send_bytes(question.to_json().encode())
            return Continue.from_json(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            raise NodeClosed from error
