"""Messages that pass for Celery's, with values that no producer sends; and commands of remote control."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from celery.app.task import Context

from tests.support.fleet_processes import HOST
from tests.support.hostile_messages import hostile_messages, message
from whisper_fleet.shared import names

GPU_QUEUE = f"gpu.{HOST}.0"
#: Each queue of the fleet, with a task that it carries.
QUEUES = {
    names.TRANSCRIBE_QUEUE: names.TRANSCRIBE,
    names.RESUMED_QUEUE: names.TRANSCRIBE,
    names.ASSEMBLE_QUEUE: names.ASSEMBLE,
    names.SCHEDULER_QUEUE: names.DISPATCH,
    names.scheduler_queue(HOST): names.AUTOSCALE,
    GPU_QUEUE: names.TRANSCRIBE_SEGMENT,
}

#: What Celery's request has: a header of the same name may replace it.
_ATTRIBUTES = sorted(
    name for name in vars(Context) if not name.startswith("__") and name not in ("id", "eta", "expires")
)

_HEADERS: dict[str, dict[str, Any]] = {
    "retries": {"retries": 10**9},
    "an expiry in the year 1": {"expires": "0001-01-01T00:00:00+14:00"},
    "an expiry in the year 9999": {"expires": "9999-12-31T23:59:59-14:00"},
    "an eta in the year 1": {"eta": "0001-01-01T00:00:00+14:00"},
    "an eta without a time": {"eta": "2020-01-01"},
    "a group and no index": {"group": "g"},
    "a group's index that is a word": {"group": "g", "group_index": "x"},
    "nesting that is a word": {"replaced_task_nesting": "x"},
    "ignore_result that is a word": {"ignore_result": "yes"},
    "a root of a megabyte": {"root_id": "x" * 1_000_000},
    "a parent that controls a terminal": {"parent_id": "\0\x1b[2J"},
    "shown arguments that control a terminal": {"argsrepr": "\x1b[2J" * 1000, "kwargsrepr": "\u202e" * 1000},
    "an origin of 100 KB": {"origin": "x" * 100_000},
    "a shadow": {"shadow": "\x1b[2J"},
    "stamps that are nested": {"stamps": {"a": {"b": [1]}}, "stamped_headers": ["a", "b"]},
    "stamped headers that are objects": {"stamped_headers": [{}], "stamps": {}},
    "another language": {"lang": "rust", "meth": 7},
    "headers in headers": {"headers": {"headers": {"a": 1}}},
    **{f"a header named {name}": {name: 7} for name in _ATTRIBUTES},
    "a time limit of a millisecond": {"timelimit": [0.001, 0.001]},
    "a soft time limit of a millisecond": {"timelimit": [None, 0.001]},
}


_SIGNATURE: dict[str, Any] = {
    "task": "n",
    "args": [],
    "kwargs": {},
    "options": {"queue": "nowhere"},
    "subtask_type": None,
    "immutable": False,
}


def _callback(**parts: Any) -> dict[str, Any]:
    return {"callbacks": [{**_SIGNATURE, **parts}]}


_EMBEDDED: dict[str, dict[str, Any]] = {
    "a callback to a queue that nobody reads": _callback(options={"queue": "nowhere"}),
    "a callback to the fleet itself": _callback(task="dispatch", options={"queue": "scheduler"}),
    "a callback in pickle": _callback(options={"serializer": "pickle"}),
    "a callback with an odd countdown": _callback(options={"countdown": "x"}),
    "a callback with odd options": _callback(options={"expires": "x", "priority": {}}),
    "a callback with odd addresses": _callback(options={"exchange": {"a": 1}, "routing_key": 7}),
    "a callback that is a group of a number": _callback(task="celery.group", kwargs={"tasks": 7}, subtask_type="group"),
    "a callback that is a chord of nothing": _callback(task="celery.chord", subtask_type="chord"),
    "a callback of an unknown type": _callback(subtask_type="nope"),
    "a callback of a type that is an object": _callback(subtask_type={}),
    "an errback that is a group of a number": {
        "errbacks": [{**_SIGNATURE, "task": "celery.group", "kwargs": {"tasks": 7}}]
    },
    "an errback in an unknown serializer": {"errbacks": [{**_SIGNATURE, "options": {"serializer": "nope"}}]},
    "a chain to a number": {"chain": [{**_SIGNATURE, "options": {"queue": 7}}]},
    "a chain with an odd id": {"chain": [{**_SIGNATURE, "chord_size": "x", "options": {"task_id": 7}}]},
    "a chord without a group": {"chord": {**_SIGNATURE, "options": {"task_id": "x"}}},
    **{
        f"{name} of the fleet as {part}": {part: [{**_SIGNATURE, "task": name}]}
        for name in sorted(names.TASKS)
        for part in ("callbacks", "errbacks", "chain")
    },
    "500 callbacks": {"callbacks": [_SIGNATURE] * 500},
    "unknown parts": {"x": 1},
}

_SEGMENTS: dict[str, dict[str, Any]] = {
    "no arguments": {},
    "arguments of other types": {"job": 1, "segment": "x", "token": []},
    "a job that is an object": {"job": {}, "segment": 0, "token": "t"},
    "an unknown job": {"job": "nope", "segment": 0, "token": "t"},
    "a segment below zero": {"job": "nope", "segment": -5, "token": "t"},
    "a segment beyond counting": {"job": "nope", "segment": 10**40, "token": "t"},
    "a job that controls a terminal": {"job": "a:b%\x1b[2J", "segment": 0, "token": "t"},
    "an argument named self": {"self": 1, "job": "nope", "segment": 0, "token": "t"},
}


def unreadable() -> Iterator[tuple[str, str | bytes]]:
    """Yield (queue, message) for messages that no consumer can read."""
    for queue, task in QUEUES.items():
        for hostile in hostile_messages(task, queue).values():
            yield queue, hostile


def odd_requests(keywords: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (id, message) for requests whose envelope is odd; their arguments are good, and then wrong."""
    for kwargs in (keywords, {"nonsense": 1}):
        for headers in _HEADERS.values():
            yield _made(names.TRANSCRIBE_QUEUE, names.TRANSCRIBE, headers, [[], kwargs, {}])
        for embedded in _EMBEDDED.values():
            yield _made(names.TRANSCRIBE_QUEUE, names.TRANSCRIBE, {}, [[], kwargs, embedded])


def odd_internals() -> Iterator[tuple[str, str]]:
    """Yield (queue, message) for the fleet's own tasks, with arguments and headers that the fleet never sends."""
    for kwargs in _SEGMENTS.values():
        yield GPU_QUEUE, _made(GPU_QUEUE, names.TRANSCRIBE_SEGMENT, {}, [[], kwargs, {}])[1]
    yield GPU_QUEUE, _made(GPU_QUEUE, names.TRANSCRIBE_SEGMENT, {}, [[1, 2, 3, 4, 5], {}, {}])[1]
    for queue, task in QUEUES.items():
        if task == names.TRANSCRIBE:
            continue
        for headers in _HEADERS.values():
            yield queue, _made(queue, task, headers, [[], {}, {}])[1]
        for body in ([[1, 2], {}, {}], [[], {"x": 1, "self": 2}, {}]):
            yield queue, _made(queue, task, {}, body)[1]


def _made(queue: str, task: str, headers: dict[str, Any], body: Any) -> tuple[str, str]:
    made = message(task, queue, headers=headers, body=json.dumps(body))
    return made["headers"]["id"], json.dumps(made)


#: Commands that would stop or change a process, with their arguments.
COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("shutdown", {}),
    ("cancel_consumer", {"queue": "transcribe"}),
    ("cancel_consumer", {"queue": GPU_QUEUE}),
    ("cancel_consumer", {"queue": "scheduler"}),
    ("add_consumer", {"queue": "transcribe"}),
    ("pool_shrink", {"n": 100}),
    ("pool_shrink", {"n": "x"}),
    ("pool_grow", {"n": -5}),
    ("pool_restart", {}),
    ("autoscale", {"max": 0, "min": 0}),
    ("time_limit", {"task_name": "transcribe", "hard": 0.001}),
    ("rate_limit", {"task_name": "transcribe", "rate_limit": "1/h"}),
    ("revoke", {"task_id": {"a": 1}}),
    ("revoke", {"task_id": ["x" * 1000] * 1000, "terminate": True, "signal": "SIGKILL"}),
    ("terminate", {"task_id": "nope", "signal": 9}),
    ("query_task", {"ids": {"a": 1}}),
    ("election", {"id": 1, "topic": {}, "action": []}),
    ("no such command", {}),
]
BROADCASTS = (
    b"{]",
    b"[1]",
    b"{}",
    b"",
    b'{"properties": {}}',
    b'{"body": 7, "properties": {"delivery_tag": []}}',
    b'{"body": "e30=", "content-type": "application/x-python-serialize", "properties": {"delivery_tag": "t"}}',
)
