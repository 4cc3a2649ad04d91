"""What the fleet's processes log: one visible line per message, and nothing about ticks and transcripts."""

from __future__ import annotations

import logging
from typing import Any

from celery import signals
from celery.app.trace import LOG_IGNORED, LOG_RECEIVED, LOG_SUCCESS

from whisper_fleet.shared import names
from whisper_fleet.shared.display.json_log import use_json_in_celery, use_json_in_worker
from whisper_fleet.shared.display.log_fields import current_log_fields
from whisper_fleet.shared.display.text import printable, printable_text

#: Celery's lines about a task's course; those about a failure are kept.
_COURSE = (LOG_RECEIVED, LOG_SUCCESS, LOG_IGNORED)
_LOGGERS = ("celery.worker.strategy", "celery.app.trace", "celery.beat")


def configure_log_records() -> None:
    """Make every message of this process printable, and drop Celery's lines about the course of the fleet's tasks.

    Ticks run all the time, a result is the client's, and the fleet's own lines about jobs name their files. Celery's
    processes log in the form that the settings choose.
    """
    logging.setLogRecordFactory(PrintableRecord)
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(is_worth_logging)
    for signal in (signals.after_setup_logger, signals.after_setup_task_logger):
        signal.connect(use_json_in_celery, weak=False)
    signals.celeryd_init.connect(use_json_in_worker, weak=False)


class PrintableRecord(logging.LogRecord):
    """A record whose message and traceback cannot control a terminal, whichever handler and format prints them."""

    _exc_text: str | None = None

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.context_fields = current_log_fields()

    def getMessage(self) -> str:  # noqa: N802  # logging's name
        """Return the message as one line."""
        return printable(super().getMessage().rstrip("\n"))

    @property
    def exc_text(self) -> str | None:
        """The traceback as text, which the formatter stores: its last lines hold the error's message."""
        return self._exc_text

    @exc_text.setter
    def exc_text(self, text: str | None) -> None:
        self._exc_text = None if text is None else printable_text(text)


def is_worth_logging(record: logging.LogRecord) -> bool:
    """Return whether a line of Celery is about something else than the usual course of one of the fleet's tasks."""
    if record.name == "celery.beat":  # "Sending due task %s (%s)"
        return not (isinstance(record.args, tuple) and record.args and record.args[-1] in names.TASKS)
    is_course = record.msg in _COURSE and isinstance(record.args, dict)
    return not (is_course and isinstance(record.args, dict) and record.args.get("name") in names.TASKS)
