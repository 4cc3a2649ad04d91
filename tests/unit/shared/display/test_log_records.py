"""What the fleet's processes log, however they are configured."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
from celery.app import trace

from whisper_fleet.shared import names
from whisper_fleet.shared.display.log_records import PrintableRecord, configure_log_records, is_worth_logging


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    stream = io.StringIO()
    handler, logger = logging.StreamHandler(stream), logging.getLogger("tests.log_records")
    logger.addHandler(handler)
    logger.propagate = False
    before = logging.getLogRecordFactory()
    configure_log_records()
    yield logger, stream
    logging.setLogRecordFactory(before)
    logger.removeHandler(handler)


def test_a_message_is_one_line_that_controls_nothing(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    logger.warning("job %s of %d\n", "\x1b[2J\nERROR forged\u202e", 3)
    assert stream.getvalue() == "job \\x1b[2J\\nERROR forged\\u202e of 3\n"


def test_a_traceback_keeps_its_lines_and_controls_nothing(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        logger.exception("it failed")
    logged = stream.getvalue()
    assert "\x1b" not in logged and logged.endswith("ValueError: \\x1b[2J\n")
    assert len(logged.splitlines()) > 3


def record(name: str, message: str, *args: object) -> logging.LogRecord:
    return PrintableRecord(name, logging.INFO, __file__, 1, message, args, None)


@pytest.mark.parametrize("line", [trace.LOG_RECEIVED, trace.LOG_SUCCESS, trace.LOG_IGNORED])
@pytest.mark.parametrize("task", sorted(names.TASKS))
def test_the_course_of_the_fleets_tasks_is_not_logged(task: str, line: str) -> None:
    context = {"name": task, "id": "i", "runtime": 0.1, "return_value": "{'text': 'a secret'}"}
    assert not is_worth_logging(record("celery.app.trace", line, context))
    assert is_worth_logging(record("celery.app.trace", line, context | {"name": "celery.ping"}))


def test_failures_are_logged() -> None:
    context = {"name": names.TRANSCRIBE, "id": "i", "description": "raised expected", "exc": "FileMissing"}
    assert is_worth_logging(record("celery.app.trace", trace.LOG_FAILURE, context))


def test_beats_messages_for_ticks_are_not_logged() -> None:
    due = "Scheduler: Sending due task %s (%s)"
    assert not is_worth_logging(record("celery.beat", due, "recover", names.RECOVER))
    assert is_worth_logging(record("celery.beat", due, "mine", "my.task"))
    assert is_worth_logging(record("celery.beat", "beat: Starting..."))
