"""Log lines as JSON objects, one per line, if LOG_FORMAT says so.

Callers: `configure_log_records` for Celery's processes, and the main function of every other one. A line has `time`,
`level`, `logger`, `message`, `role` and `host`; `gpu` on GPU nodes and their children; and `job`, `segment`, `file`,
`tenant`, `task` or `request` where they are known (log_fields.py). No text can break a line: JSON escapes line breaks,
and what is invisible is escaped before.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from whisper_fleet.shared import names
from whisper_fleet.shared.display.log_fields import current_log_fields
from whisper_fleet.shared.display.text import printable, printable_text
from whisper_fleet.shared.process.program import program_name, split_index
from whisper_fleet.shared.settings import Settings, load_settings

#: Programs that run for one GPU, besides its node.
_CHILDREN = ("engine", "feeder")


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object; `of_process` are the fields of every line."""

    def __init__(self, of_process: Mapping[str, str]) -> None:
        super().__init__()
        self._of_process = dict(of_process)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": printable(record.getMessage().rstrip("\n")),
            **self._of_process,
            **_task_fields(record),
            **getattr(record, "context_fields", current_log_fields()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["traceback"] = printable_text(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def fields_of_process(settings: Settings) -> dict[str, str]:
    """Return the role and the host of this process, and its GPU if it runs for one."""
    role, index = split_index(program_name())
    fields = {"role": role, "host": settings.host}
    if role == "gpu" or role in _CHILDREN:
        fields["gpu"] = str(names.GpuName(settings.host, index if role == "gpu" else settings.gpu_index))
    return fields


def formatter(settings: Settings, text_format: str) -> logging.Formatter:
    """Return the formatter that the settings choose; `text_format` is that of plain lines."""
    if settings.log_format == "json":
        return JsonFormatter(fields_of_process(settings))
    return logging.Formatter(text_format)


def log_to_stderr(settings: Settings, level: str, text_format: str) -> None:
    """Log to standard error from now on, in a process without Celery."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(settings, text_format))
    logging.basicConfig(level=level, handlers=[handler])


def use_json_in_celery(logger: logging.Logger, **_: Any) -> None:
    """Replace the formats of a logger that Celery has set up; a receiver of its signals."""
    settings = load_settings()
    if settings.log_format == "json":
        for handler in logger.handlers:
            handler.setFormatter(JsonFormatter(fields_of_process(settings)))


def use_json_in_worker(**_: Any) -> None:
    """Log warnings and Celery's words as JSON, too, before a worker begins; a receiver of its first signal."""
    settings = load_settings()
    if settings.log_format == "json":
        logging.captureWarnings(True)
        log_to_stderr(settings, settings.log_level, "")  # Celery leaves a logger alone that has a handler
        _say_in_json(settings)


def _say_in_json(settings: Settings) -> None:
    """Have Celery's words from its signal handlers, which it writes past the log, be lines of the log, too."""
    worker = sys.modules.get("celery.apps.worker")
    if worker is not None:
        form = JsonFormatter(fields_of_process(settings))

        def say(message: str, out: TextIO = sys.__stderr__ or sys.stderr) -> None:
            record = logging.LogRecord("celery.worker", logging.INFO, "", 0, message, None, None)
            os.write(out.fileno(), f"{form.format(record)}\n".encode())

        vars(worker)["safe_say"] = say


def _task_fields(record: logging.LogRecord) -> dict[str, str]:
    """Return the task of one of Celery's own lines, and its job, whose id is that of the client's task."""
    details = record.args
    if not isinstance(details, Mapping) or not {"id", "name"} <= details.keys():
        return {}
    fields = {"task": printable(details["name"]), "task_id": printable(details["id"])}
    if details["name"] in (names.TRANSCRIBE, names.ASSEMBLE):
        fields["job"] = fields["task_id"]
    return fields
