"""Checks of a Celery message before Celery itself reads it. Pure: strings and dictionaries in, a reason out.

Celery's consumer trusts its producers: one message with an odd header stops it, and comes again when it restarts.
These checks accept what Celery clients send (message protocols 1 and 2, JSON, gzip, zlib, bzip2) and name what is
wrong with anything else, so that it can be set aside and answered.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import json
import zlib
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from whisper_fleet.shared.broker.signatures import SignatureProblem, check_followers

#: Bytes of a message, and of its body once decompressed.
MESSAGE_LIMIT = 4 << 20
#: Characters of an id.
ID_LIMIT = 255

_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 32),
    "zlib": lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 32),
    "bzip2": bz2.BZ2Decompressor,
    "bz2": bz2.BZ2Decompressor,
}
_COMPRESSIONS = {
    "application/x-gzip": "gzip",
    "application/x-bz2": "bzip2",
    "application/gzip": "gzip",
    "application/zlib": "zlib",
}


class MessageProblem(ValueError):
    """A message that Celery must not be given; the text says what is wrong with it."""


#: The keywords of a task with their types, text or number; None: the task checks its keywords itself.
Keywords = Mapping[str, str] | None
_TYPES: dict[str, type] = {"text": str, "number": int}

#: Attributes of Celery's request that it does not take from headers: a header of this name would replace one.
_RESERVED = frozenset(
    {
        *("args", "kwargs", "callbacks", "errbacks", "chain", "chord", "taskset", "utc", "hostname"),
        *("called_directly", "is_eager", "loglevel", "logfile", "children", "_children", "_protected"),
        *("get", "update", "clear", "as_execution_options", "_get_custom_headers", "_filter_x_death_headers"),
    }
)
#: Between these years, a time in any zone can be written in any other.
_FIRST_YEAR, _LAST_YEAR = 1970, 9000


def check_message(envelope: Mapping[str, Any], tasks: Mapping[str, Keywords], internal: Collection[str] = ()) -> None:
    """Raise MessageProblem unless `envelope` is a message for one of `tasks` that Celery can read.

    An empty `tasks` accepts every task name. The tasks in `internal` must not follow the task of the message.
    """
    headers = envelope.get("headers")
    if not isinstance(headers, dict):
        raise MessageProblem("its headers are not an object")
    if reserved := sorted(_RESERVED & headers.keys()):
        raise MessageProblem(f"it has a header {reserved[0]!r}, which Celery keeps for itself")
    _check_properties(envelope.get("properties"))
    body = _body_of(envelope, headers)
    described = headers if "task" in headers else body
    if not isinstance(described, dict):
        raise MessageProblem("it does not name a task")
    _check_task(described.get("task"), tasks)
    _check_id(described.get("id"))
    _check_times(described)
    _check_headers(described)
    embed = _check_arguments(body, tasks.get(described["task"]), protocol=2 if "task" in headers else 1)
    try:
        check_followers(embed, internal)
    except SignatureProblem as problem:
        raise MessageProblem(str(problem)) from None


def drop_time_limits(envelope: Mapping[str, Any]) -> None:
    """Remove the time limits of a message: a process of a pool that exceeds one would be killed."""
    headers = envelope["headers"]
    if "task" in headers:
        headers.pop("timelimit", None)


def task_id_of(message: str) -> str | None:
    """Return the id under which a client waits for the answer to `message`, if it can be read at all."""
    try:
        envelope = json.loads(message)
        headers = envelope.get("headers") or {}
        task_id = headers.get("id") or (envelope.get("properties") or {}).get("correlation_id")
        if task_id is None:
            task_id = _body_of(envelope, headers)["id"]
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        return None
    return task_id if _is_id(task_id) else None


def _check_properties(properties: Any) -> None:
    if not isinstance(properties, dict):
        raise MessageProblem("it has no properties")
    if not isinstance(properties.get("delivery_info"), dict):
        raise MessageProblem("its properties have no delivery_info")
    for name in ("correlation_id", "reply_to", "body_encoding"):
        if not isinstance(properties.get(name), str | None):
            raise MessageProblem(f"its property {name} is not a text")
    priority = properties.get("priority", 0)
    if isinstance(priority, bool) or not isinstance(priority, int | None):
        raise MessageProblem("its priority is not a whole number")


def _body_of(envelope: Mapping[str, Any], headers: Mapping[str, Any]) -> Any:
    """Return the decoded body: a list (protocol 2) or an object (protocol 1)."""
    if envelope.get("content-type") != "application/json":
        raise MessageProblem(f"its serializer is {_shown(envelope.get('content-type'))}; send JSON")
    if str(envelope.get("content-encoding")).lower() not in ("utf-8", "utf8", "us-ascii", "ascii"):
        raise MessageProblem(f"its encoding is {_shown(envelope.get('content-encoding'))}; send UTF-8")
    body = envelope.get("body")
    if not isinstance(body, str):
        raise MessageProblem("its body is not a text")
    encoded = body.encode()
    if (envelope.get("properties") or {}).get("body_encoding") == "base64":
        try:
            encoded = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise MessageProblem("its body is not base64") from None
    if headers.get("compression") is not None:
        encoded = _decompressed(encoded, headers["compression"])
    try:
        return json.loads(encoded)
    except (ValueError, RecursionError):
        raise MessageProblem("its body is not JSON") from None


def _decompressed(data: bytes, compression: Any) -> bytes:
    make = _DECOMPRESSORS.get(_COMPRESSIONS.get(str(compression), str(compression)))
    if make is None:
        raise MessageProblem(f"its compression is {_shown(compression)}; send gzip, zlib, bzip2 or none")
    try:
        text: bytes = make().decompress(data, MESSAGE_LIMIT + 1)
    except (OSError, ValueError, zlib.error):
        raise MessageProblem("its body cannot be decompressed") from None
    if len(text) > MESSAGE_LIMIT:
        raise MessageProblem(f"its body has more than {MESSAGE_LIMIT} bytes")
    return text


def _check_task(task: Any, tasks: Mapping[str, Keywords]) -> None:
    if not isinstance(task, str):
        raise MessageProblem("its task name is not a text")
    if tasks and task not in tasks:
        raise MessageProblem(f"there is no task {_shown(task)} here; send one of {', '.join(sorted(tasks))}")


def _check_id(task_id: Any) -> None:
    if not _is_id(task_id):
        raise MessageProblem(f"its id is not a text of 1 to {ID_LIMIT} printable characters")


def _is_id(task_id: Any) -> bool:
    return isinstance(task_id, str) and 0 < len(task_id) <= ID_LIMIT and task_id.isprintable()


def _check_times(described: Mapping[str, Any]) -> None:
    for name in ("eta", "expires"):
        moment = described.get(name)
        if moment is None:
            continue
        if not _is_moment(moment):
            years = f"between the years {_FIRST_YEAR} and {_LAST_YEAR}"
            raise MessageProblem(f"its {name} is {_shown(moment)}, not an ISO 8601 time {years}")


def _check_headers(described: Mapping[str, Any]) -> None:
    limits = described.get("timelimit")
    if limits is not None and not (isinstance(limits, list) and len(limits) == 2 and all(map(_is_limit, limits))):
        raise MessageProblem("its timelimit is not two numbers of seconds")
    retries = described.get("retries")
    if isinstance(retries, bool) or not isinstance(retries, int | None):
        raise MessageProblem("its number of retries is not a whole number")
    for name in ("root_id", "parent_id", "group", "origin", "argsrepr", "kwargsrepr", "replaced_task_nesting"):
        if not isinstance(described.get(name), str | int | None):
            raise MessageProblem(f"its header {name} is not a text")
    for name, kind in (("stamps", dict), ("stamped_headers", list), ("shadow", str), ("headers", dict)):
        if not isinstance(described.get(name), kind | None):
            raise MessageProblem(f"its header {name} is not of the right type")
    if not all(isinstance(name, str) for name in described.get("stamped_headers") or ()):
        raise MessageProblem("its stamped_headers are not texts")


def _is_moment(written: Any) -> bool:
    try:
        year = datetime.fromisoformat(written).astimezone(UTC).year
    except (TypeError, ValueError, OverflowError):
        return False
    return _FIRST_YEAR <= year <= _LAST_YEAR


def _is_limit(limit: Any) -> bool:
    return limit is None or (isinstance(limit, int | float) and not isinstance(limit, bool) and 0 < limit < 1e9)


def _check_arguments(body: Any, keywords: Keywords, protocol: int) -> Mapping[str, Any]:
    """Check the arguments in a body, and return what follows the task."""
    if protocol == 1:
        args, kwargs, embed = body.get("args") or [], body.get("kwargs") or {}, body
        if any(body.get("timelimit") or ()):
            raise MessageProblem("its timelimit cannot be kept: send it with message protocol 2, or leave it out")
    elif isinstance(body, list) and len(body) == 3:
        args, kwargs, embed = body
    else:
        raise MessageProblem("its body is not [arguments, keywords, callbacks]")
    if not isinstance(args, list):
        raise MessageProblem("its arguments are not a list")
    if not isinstance(kwargs, dict):
        raise MessageProblem("its keywords are not an object: send file_path=...")
    if "self" in kwargs:  # Celery calls every task as a method
        raise MessageProblem("no task has a keyword 'self'")
    if not isinstance(embed, dict | None):
        raise MessageProblem("its callbacks are not an object")
    if keywords is not None:
        _check_internal(args, kwargs, keywords)
    return embed or {}


def _check_internal(args: list[Any], kwargs: Mapping[str, Any], keywords: Mapping[str, str]) -> None:
    """Check the arguments of a task that only the fleet sends; a newer version may send more of them."""
    if args or not keywords.keys() <= kwargs.keys() or (kwargs and not keywords):
        raise MessageProblem(f"its arguments are not the keywords of its task: {', '.join(keywords) or 'none'}")
    for name, kind in keywords.items():
        value = kwargs[name]
        if not isinstance(value, _TYPES[kind]) or isinstance(value, bool):
            raise MessageProblem(f"its keyword {name} is not a {kind}")


def _shown(value: Any) -> str:
    """Return a value as an error may repeat it: short, and without control characters."""
    return repr(str(value)[:60])
