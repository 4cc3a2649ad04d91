"""Log lines as JSON objects: their fields, and that nothing that a client sends breaks a line."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery.app import trace

from whisper_fleet.shared import names
from whisper_fleet.shared.display.json_log import JsonFormatter, fields_of_process
from whisper_fleet.shared.display.log_fields import about_job, add_log_fields, log_fields
from whisper_fleet.shared.display.log_records import PrintableRecord
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import TranscribeRequest

HOSTILE = '\x1b[2J\n{"level": "ERROR"}\u2028\u202e\x00"'


class Log:
    """A logger of JSON lines."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(JsonFormatter({"role": "intake", "host": "box"}))
        self.logger = logging.getLogger("tests.json_log")
        self.logger.handlers, self.logger.propagate = [handler], False

    def lines(self) -> list[dict[str, Any]]:
        text = self.stream.getvalue()
        assert len(text.splitlines()) == text.count("\n")  # which also splits at other separators
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def log() -> Iterator[Log]:
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(PrintableRecord)
    log = Log()
    yield log
    logging.setLogRecordFactory(before)
    log.logger.handlers = []


def test_a_line_has_the_fields_of_its_process_and_of_its_context(log: Log) -> None:
    with log_fields(job="j", segment=3):
        add_log_fields(file="talk.mp3", tenant="")
        log.logger.warning("%s starts", "it")
        with log_fields(segment=4):
            log.logger.warning("inner")
    log.logger.warning("outside")
    first, inner, outside = log.lines()
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "WARNING",
        "logger": "tests.json_log",
        "message": "it starts",
        "role": "intake",
        "host": "box",
        "job": "j",
        "segment": 3,
        "file": "talk.mp3",
    }
    assert (inner["job"], inner["segment"]) == ("j", 4)
    assert "job" not in outside


def test_a_context_ends_in_its_thread_and_is_not_seen_in_another(log: Log) -> None:
    with log_fields(job="mine"):
        thread = threading.Thread(target=log.logger.warning, args=("other thread",))
        thread.start()
        thread.join()
    assert "job" not in log.lines()[0]


def test_a_line_outside_of_a_context_names_its_job(log: Log) -> None:
    request = TranscribeRequest(
        file_path="https://example.org/in/talk.mp3?key=secret", model_name="tiny", tenant="acme"
    )
    log.logger.warning("it ended", extra=about_job("j", request, segment=2))
    (line,) = log.lines()
    assert (line["job"], line["file"], line["tenant"], line["segment"]) == ("j", "talk.mp3", "acme", 2)
    assert "secret" not in json.dumps(line)


def test_hostile_text_breaks_neither_a_line_nor_a_field(log: Log) -> None:
    with log_fields(job=HOSTILE, file=HOSTILE * 100):
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            log.logger.exception("%s failed", HOSTILE)
    (line,) = log.lines()
    assert line["level"] == "ERROR"
    assert line["message"].startswith("\\x1b[2J\\n{")
    assert len(line["file"]) == 300
    assert not any(character in text for text in map(str, line.values()) for character in "\x1b\x00\u2028\u202e")


def test_celerys_own_lines_name_task_and_job(log: Log) -> None:
    context: dict[str, object] = {
        "name": names.TRANSCRIBE,
        "id": "j",
        "description": "raised",
        "exc": "FileMissing",
        "traceback": "",
    }
    context |= {"runtime": 0.1, "internal": False}
    log.logger.error(trace.LOG_FAILURE, context)
    (line,) = log.lines()
    assert (line["task"], line["job"]) == (names.TRANSCRIBE, "j")


def test_a_node_and_its_children_name_their_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(host="box", gpu_index=2)
    commands = {
        "python -m celery worker -n gpu1@box": {"role": "gpu", "host": "box", "gpu": "box.1"},
        "python -m whisper_fleet.workers.engine serve": {"role": "engine", "host": "box", "gpu": "box.2"},
        "python -m celery -A app beat": {"role": "beat", "host": "box"},
    }
    for command, fields in commands.items():
        monkeypatch.setattr("sys.orig_argv", command.split())
        assert fields_of_process(settings) == fields
