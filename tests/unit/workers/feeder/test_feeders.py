"""What a node makes of a feeder's messages, and what a feeder asks of its node."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, cast

import pytest

from whisper_fleet.shared.errors import CorruptAudio, FeederDied, JobCancelled
from whisper_fleet.shared.wire import SegmentPlan, SegmentResult, SegmentWork, TranscribeRequest
from whisper_fleet.workers.feeder.feeders import Feeder, Feeders
from whisper_fleet.workers.feeder.messages import Begin, Done, Failed
from whisper_fleet.workers.feeder.server import NodeClosed, NodeLink
from whisper_fleet.workers.node.transcription import Transcriber

WORK = SegmentWork(
    request=TranscribeRequest(file_path="/talk.wav", model_name="base"),
    plan=SegmentPlan(index=0, start=0.0, end=60.0),
    attempt=1,
)
RESULT = SegmentResult(text="Hi", language="en", segments=(), gpu="h.0", decode_seconds=0.5, transcribe_seconds=1.0)


class Admission:
    """Records who enters and leaves."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @contextmanager
    def entered(self, *, alone: bool, while_waiting: Callable[[], None]) -> Iterator[None]:
        self.seen.append(f"in, alone: {alone}")
        yield
        self.seen.append("out")


class Local:
    """Stands for the node's own transcriber."""

    def __init__(self) -> None:
        self.admission = Admission()

    def transcribe(self, *_: object) -> SegmentResult:
        return RESULT.model_copy(update={"text": "by the node itself"})


def feeders_with(feeder: Callable[[Connection], None], local: Local, silence: float = 20.0) -> Feeders:
    """Return feeders of which one is ready, and is played by a function."""
    feeders = Feeders(cast("Transcriber", local), Path("engine.sock"), cores=4, silence=silence)
    one = cast("Any", Feeder(1, Path("engine.sock"), cores=4))
    one.process._ready.set()

    def connect() -> Connection:
        node, other = Pipe()
        threading.Thread(target=feeder, args=(other,), daemon=True).start()
        return node

    one.connect = connect
    feeders._feeders.append(one)
    return feeders


def no_language(language: str, probability: float) -> str:
    raise AssertionError("not asked")


def no_text(text: str) -> None:
    raise AssertionError("no text was noted")


def test_questions_are_answered_until_the_result_comes() -> None:
    heard: list[object] = []

    def feeder(connection: Connection) -> None:
        begin, node = Begin.from_json(connection.recv_bytes()), NodeLink(connection)
        heard.append(begin.work)
        node.note_text(" Hi")
        node.report(30.0)
        node.report(31.0)
        with node.entered(alone=True, while_waiting=lambda: None):
            heard.append(node.language_of_job("de", 0.75))
            connection.send_bytes(Done(result=RESULT).to_json().encode())

    local, seen = Local(), list[object]()
    result = feeders_with(feeder, local).transcribe(
        WORK, seen.append, lambda language, _: f"not {language}", seen.append
    )
    assert result == RESULT
    assert heard == [WORK, "not de"]
    assert seen == [" Hi", 30.0, 31.0]  # a text that did not change is not sent again
    assert local.admission.seen == ["in, alone: True", "out"]


def test_what_a_window_raises_reaches_the_node_unchanged_and_ends_the_feeders_segment() -> None:
    ended = threading.Event()

    def feeder(connection: Connection) -> None:
        connection.recv_bytes()
        with pytest.raises(NodeClosed):
            NodeLink(connection).report(30.0)
        ended.set()

    def cancelled(_: float) -> None:
        raise error

    error = JobCancelled(job="j")
    with pytest.raises(JobCancelled) as raised:
        feeders_with(feeder, Local()).transcribe(WORK, cancelled, no_language, no_text)
    assert raised.value is error
    assert ended.wait(5)


@pytest.mark.parametrize(
    ("failed", "expected", "message"),
    [
        (Failed(error="CorruptAudio", message="/talk.wav is damaged"), CorruptAudio, "/talk.wav is damaged"),
        (Failed(error="ZeroDivisionError", message="by zero"), RuntimeError, "ZeroDivisionError: by zero"),
        (Failed(error="printable", message="not an error"), RuntimeError, "printable: not an error"),
    ],
)
def test_a_failure_keeps_its_kind_and_its_words(failed: Failed, expected: type[Exception], message: str) -> None:
    def feeder(connection: Connection) -> None:
        connection.recv_bytes()
        connection.send_bytes(failed.to_json().encode())

    with pytest.raises(expected, match=f"^{message}$"):
        feeders_with(feeder, Local()).transcribe(WORK, lambda _: None, no_language, no_text)


def test_a_feeder_that_ends_is_not_taken_for_an_error_of_the_request() -> None:
    def feeder(connection: Connection) -> None:
        connection.recv_bytes()
        connection.close()

    feeders = feeders_with(feeder, Local())
    with pytest.raises(FeederDied):
        feeders.transcribe(WORK, lambda _: None, no_language, no_text)
    assert feeders._feeders[0].segments == 0


def test_a_feeder_that_is_silent_is_killed_so_that_its_slots_are_not_lost() -> None:
    kept: list[Connection] = []
    feeders = feeders_with(kept.append, Local(), silence=0.05)
    killed = threading.Event()
    feeders._feeders[0].kill = killed.set  # type: ignore[method-assign]  # there is no process
    with pytest.raises(FeederDied):
        feeders.transcribe(WORK, lambda _: None, no_language, no_text)
    assert killed.is_set()


def test_the_path_of_a_feeder_is_no_longer_than_that_of_its_engine() -> None:
    engine = Path("/run/engine-host-0.sock")
    paths = [Feeder(number, engine, cores=4).path for number in (1, 2, 99)]
    assert len({*paths, engine}) == 4
    assert all(path.parent == engine.parent and len(path.name) <= len(engine.name) for path in paths)


def test_without_a_feeder_that_answers_the_node_transcribes_by_itself() -> None:
    local = Local()
    feeders = feeders_with(lambda _: None, local)
    feeders._feeders[0].connect = lambda: None  # type: ignore[method-assign]  # it ended a moment ago
    assert feeders.transcribe(WORK, lambda _: None, no_language, no_text).text == "by the node itself"
    feeders._feeders[0].process._ready.clear()
    assert feeders.transcribe(WORK, lambda _: None, no_language, no_text).text == "by the node itself"
