"""The fields of a log line beside its message: which job, segment, file, tenant it is about.

Callers: a task or slot opens the context when it begins with a job, and adds what it learns; every line that is logged
inside, by any module, gets the fields. A line about a job outside of such a context passes them as `extra`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from whisper_fleet.shared.display.text import file_name, printable

if TYPE_CHECKING:
    from whisper_fleet.shared.wire import TranscribeRequest

_NO_FIELDS: Mapping[str, str | int] = {}
_fields: ContextVar[Mapping[str, str | int]] = ContextVar("log_fields", default=_NO_FIELDS)
#: The longest text of a field that a client chose.
_LONGEST = 300


@contextmanager
def log_fields(**fields: object) -> Iterator[None]:
    """Give every line that this thread or task logs in the context these fields, besides those of outer contexts."""
    token = _fields.set({**_fields.get(), **_shown(fields)})
    try:
        yield
    finally:
        _fields.reset(token)


def add_log_fields(**fields: object) -> None:
    """Add fields to the innermost context; they go with it."""
    _fields.set({**_fields.get(), **_shown(fields)})


def current_log_fields() -> Mapping[str, str | int]:
    """Return the fields of a line that is logged now."""
    return _fields.get()


def request_fields(request: TranscribeRequest) -> dict[str, str]:
    """Return what a job's lines say of its request."""
    return {"file": file_name(request.file_path), "tenant": request.tenant}


def about_job(job: str, request: TranscribeRequest, **fields: object) -> dict[str, object]:
    """Return `extra=` for a line about a job outside of a context."""
    return {"fields": _shown({"job": job, **request_fields(request), **fields})}


def _shown(fields: Mapping[str, object]) -> dict[str, str | int]:
    shown = {name: value if isinstance(value, int) else printable(value)[:_LONGEST] for name, value in fields.items()}
    return {name: value for name, value in shown.items() if value != ""}
