"""Messages that a Celery producer never sends, and that must neither stop nor confuse a consumer."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any


def message(task: str, queue: str, **changes: Any) -> dict[str, Any]:
    """Return a message as Celery sends it, with some parts replaced."""
    body = changes.pop("body", json.dumps([[], {}, {}]))
    task_id = str(uuid.uuid4())
    properties = {
        "delivery_tag": str(uuid.uuid4()),
        "delivery_mode": 2,
        "body_encoding": "base64",
        "priority": 0,
        "correlation_id": task_id,
        "reply_to": "r",
        "delivery_info": {"exchange": "", "routing_key": queue},
        **changes.pop("properties", {}),
    }
    headers = {"lang": "py", "task": task, "id": task_id, "timelimit": [None, None], "retries": 0}
    headers.update(changes.pop("headers", {}))
    encoded = base64.b64encode(body.encode()).decode()
    envelope = {"body": encoded, "content-encoding": "utf-8", "content-type": "application/json"}
    return {**envelope, "headers": headers, "properties": properties, **changes}


def hostile_messages(task: str, queue: str) -> dict[str, str | bytes]:
    """Return messages that no consumer can accept, by what is wrong with each."""

    def made(**changes: Any) -> str:
        return json.dumps(message(task, queue, **changes))

    def replaced(**parts: Any) -> str:
        return json.dumps({**message(task, queue), **parts})

    headers: dict[str, dict[str, Any]] = {
        "an id that is a list": {"id": ["a"]},
        "an id that is an object": {"id": {"a": 1}},
        "an id that is empty": {"id": ""},
        "an id that controls a terminal": {"id": "\x1b[2J\u202e"},
        "an id of a million characters": {"id": "x" * 1_000_000},
        "a task that is an object": {"task": {"a": 1}},
        "a task that nobody knows": {"task": "os.system"},
        "a time limit that is a word": {"timelimit": "soon"},
        "a time limit below zero": {"timelimit": [-1, -1]},
        "stamps that are a number": {"stamps": 7, "stamped_headers": 7},
        "an eta that is no time": {"eta": "tomorrow"},
        "an eta that is an object": {"eta": {}},
        "an expiry that is a list": {"expires": []},
        "an unknown compression": {"compression": "magic"},
        "a compression that is a list": {"compression": ["gzip"]},
        "retries that are a word": {"retries": "many"},
        "a group that is an object": {"group": {}},
    }
    bodies: dict[str, Any] = {
        "keywords that are a list": [[], [], {}],
        "arguments that are a number": [7, {}, {}],
        "callbacks that are a word": [[], {}, {"callbacks": "x"}],
        "a callback without a task": [[], {}, {"callbacks": [{}]}],
        "a chord that is a number": [[], {}, {"chord": 7}],
        "a body of one part": [[]],
        "a body that is a number": 7,
    }
    envelopes: dict[str, str | bytes] = {
        "not JSON": b"{]",
        "nothing": b"",
        "not UTF-8": b'{"properties": {"delivery_tag": "\xff"}}',
        "a list": b"[1, 2]",
        "a number": b"7",
        "deep": b"[" * 5000,
        "a deep object": b'{"a":' * 5000 + b"1" + b"}" * 5000,
        "too long": b"x" * (5 << 20),
        "no properties": json.dumps({"body": ""}),
        "no body": replaced(body=None),
        "a delivery tag that is a number": made(properties={"delivery_tag": 7}),
        "a delivery tag of a megabyte": made(properties={"delivery_tag": "x" * (1 << 20)}),
        "no delivery info": made(properties={"delivery_info": None}),
        "a priority that is a word": made(properties={"priority": "high"}),
        "body that is not base64": replaced(body="!!"),
        "pickle": replaced(**{"content-type": "application/x-python-serialize", "content-encoding": "binary"}),
        "yaml": replaced(**{"content-type": "application/x-yaml"}),
        "an encoding that nobody knows": replaced(**{"content-encoding": "magic"}),
        "headers that are a list": replaced(headers=[]),
        "a bomb": json.dumps(message(task, queue, headers={"compression": "gzip"}) | {"body": "H4sIAAAAAAAA/w=="}),
    }
    return {
        **envelopes,
        **{kind: made(headers=parts) for kind, parts in headers.items()},
        **{kind: made(body=json.dumps(body)) for kind, body in bodies.items()},
    }
