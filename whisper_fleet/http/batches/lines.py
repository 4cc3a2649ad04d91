"""The lines of a batch's input file: which are valid, and which job each asks for. Pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.openai.options import AudioOptions, audio_options
from whisper_fleet.shared.serialization import Wire
from whisper_fleet.shared.settings import Settings

ENDPOINT = "/v1/audio/transcriptions"

MOST_LINES = 50_000
MOST_BYTES = 32 * 2**20
_LONGEST_CUSTOM_ID = 512
_MOST_ERRORS = 20
#: What a body may name its audio with: a stored file, or an address.
_FILE_FIELDS = ("file_id", "url", "file")
#: The least urgent there is.
PRIORITY = 9


class Line(Wire):
    """One request of a batch, as it is kept until the batch is forgotten."""

    custom_id: str
    body: dict[str, Any]
    error: dict[str, Any] | None = None  # why there is no job for it, as an error object
    status: int = 0  # of that error


class LineError(Wire):
    """Why a batch cannot begin, as OpenAI's API shows it."""

    code: str
    message: str
    line: int | None = None  # 1 is the first
    param: str | None = None


@dataclass(frozen=True)
class Source:
    """What a line transcribes: a stored file's id, or an address."""

    file_id: str | None
    address: str | None


def read_lines(data: bytes, endpoint: str) -> tuple[list[Line], list[LineError]]:
    """Return the lines of an input file, and what is wrong with it; if anything is, the batch fails."""
    if len(data) > MOST_BYTES:
        return [], [LineError(code="file_too_large", message=f"the input file has more than {MOST_BYTES:,} bytes")]
    lines: list[Line] = []
    errors: list[LineError] = []
    seen: set[str] = set()
    for number, text in enumerate(data.split(b"\n"), 1):
        if not text.strip():
            continue
        if len(lines) >= MOST_LINES:
            return [], [LineError(code="too_many_requests", message=f"there are more than {MOST_LINES:,} lines")]
        line = _line(text, number, endpoint, seen)
        if isinstance(line, Line):
            lines.append(line)
        else:
            errors.append(line)
            if len(errors) >= _MOST_ERRORS:
                break
    if not lines and not errors:
        errors.append(LineError(code="empty_file", message="the input file has no lines"))
    return lines, errors


def _line(text: bytes, number: int, endpoint: str, seen: set[str]) -> Line | LineError:
    def wrong(code: str, message: str, param: str | None = None) -> LineError:
        return LineError(code=code, message=message, line=number, param=param)

    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return wrong("invalid_json_line", "this line is not parseable as valid JSON")
    if not isinstance(given, dict):
        return wrong("invalid_json_line", "this line is no JSON object")
    custom_id = given.get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= _LONGEST_CUSTOM_ID:
        return wrong("missing_required_parameter", "custom_id must be a text of 1 to 512 characters", "custom_id")
    if custom_id in seen:
        return wrong("duplicate_custom_id", f"the custom_id {custom_id!r} was used before", "custom_id")
    if given.get("method") != "POST":
        return wrong("invalid_method", "method must be POST", "method")
    if given.get("url") != endpoint:
        return wrong("mismatched_endpoint", f"url must be the endpoint of the batch, {endpoint}", "url")
    if not isinstance(given.get("body"), dict):
        return wrong("missing_required_parameter", "body must be an object", "body")
    seen.add(custom_id)
    return Line(custom_id=custom_id, body=given["body"])


def source_of(body: Mapping[str, Any]) -> Source:
    """Return what a body transcribes; raises ApiError."""
    named = [(name, body[name]) for name in _FILE_FIELDS if body.get(name) is not None]
    if len(named) != 1 or not isinstance(named[0][1], str):
        raise ApiError(
            400, "the body must name its audio once: file_id is a stored file, url an address", param="file_id"
        )
    ((name, value),) = named
    is_stored = name == "file_id" or (name == "file" and "://" not in value)
    return Source(file_id=value, address=None) if is_stored else Source(file_id=None, address=value)


def options_of(body: Mapping[str, Any], settings: Settings) -> AudioOptions:
    """Return what a body asks for; raises ApiError or a RequestError."""
    form = {name: _texts(value) for name, value in body.items() if name not in _FILE_FIELDS and value is not None}
    form.pop("stream", None)
    return audio_options(form, "transcribe", settings)


def _texts(value: Any) -> list[str]:
    """Return a JSON value as a form would have it."""
    if isinstance(value, list):
        return [_text(one) for one in value]
    return [_text(value)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def job_of(batch: str, number: int) -> str:
    """Return the id of a line's job: always the same, so that a repeated step submits nothing twice."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{batch}/{number}"))
