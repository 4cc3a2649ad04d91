"""Messages as Celery clients send them are accepted; anything else is named before Celery reads it."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_fleet.shared.broker.receipt import (
    MESSAGE_LIMIT,
    MessageProblem,
    check_message,
    drop_time_limits,
    task_id_of,
)

TASKS: dict[str, Any] = {"transcribe": None, "segment": {"job": "text", "segment": "number"}, "tick": {}}
KEYWORDS = {"file_path": "/data/ä.mp3"}
SIGNATURE: dict[str, Any] = {
    "task": "after",
    "args": [],
    "kwargs": {},
    "options": {"queue": "celery"},
    "subtask_type": None,
}


def message(body: Any = ([], KEYWORDS, {}), *, encode: Callable[[bytes], bytes] | None = None, **headers: Any) -> Any:
    """Return a message of protocol 2 with these headers."""
    text = json.dumps(body).encode()
    properties = {"delivery_tag": "t", "delivery_info": {"routing_key": "q"}, "body_encoding": "base64", "priority": 0}
    return {
        "body": base64.b64encode(encode(text) if encode else text).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": "transcribe", "id": "an-id", "timelimit": [None, None], "retries": 0, **headers},
        "properties": properties,
    }


@pytest.mark.parametrize(
    "accepted",
    [
        message(),
        message(eta="2027-01-01T00:00:00+00:00", expires="2027-01-01T00:00:00.5+00:00"),
        message(timelimit=[30, 20.5], root_id="r", parent_id=None, group="g", stamps={"a": "b"}, stamped_headers=["a"]),
        message(([], KEYWORDS, {"callbacks": None, "errbacks": [SIGNATURE], "chain": [], "chord": SIGNATURE})),
        message(encode=gzip.compress, compression="application/x-gzip"),
        message(encode=zlib.compress, compression="application/x-gzip"),
        message(encode=bz2.compress, compression="application/x-bz2"),
        message(([], {"job": "j", "segment": 3, "newer": 1}, {}), task="segment"),
        message(([], {}, {}), task="tick"),
        {**message({"task": "transcribe", "id": "i", "args": [], "kwargs": KEYWORDS}), "headers": {}},
    ],
)
def test_what_celery_clients_send_is_accepted(accepted: Any) -> None:
    check_message(accepted, TASKS)
    assert task_id_of(json.dumps(accepted)) in ("an-id", "i")


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (message(task="os.system"), "there is no task 'os.system' here; send one of segment, tick, transcribe"),
        (message(task=["a"]), "its task name is not a text"),
        (message(id={}), "its id"),
        (message(id="a\x1b[31m"), "its id"),
        (message(id="x" * 256), "its id"),
        (message(timelimit="soon"), "its timelimit"),
        (message(timelimit=[1, 2, 3]), "its timelimit"),
        (message(timelimit=[-1, None]), "its timelimit"),
        (message(eta="tomorrow"), "its eta is 'tomorrow'"),
        (message(expires={}), "its expires"),
        (message(retries="many"), "its number of retries"),
        (message(eta="9999-12-31T23:59:59-14:00"), "its eta is .*, not an ISO 8601 time between"),
        (message(eta="0001-01-01T00:00:00+14:00"), "its eta is .*, not an ISO 8601 time between"),
        (message(expires="0001-01-01"), "its expires"),
        (message(stamped_headers=[{}]), "its stamped_headers"),
        (message(errbacks=7), "it has a header 'errbacks', which Celery keeps for itself"),
        (message(get=None), "it has a header 'get'"),
        (message(([], {"self": 1}, {})), "no task has a keyword 'self'"),
        (message(([1], {}, {}), task="tick"), "its arguments are not the keywords of its task: none"),
        (message(([], {"x": 1}, {}), task="tick"), "its arguments are not the keywords of its task: none"),
        (message(([], {"job": "j"}, {}), task="segment"), "the keywords of its task: job, segment"),
        (message(([], {"job": {}, "segment": 1}, {}), task="segment"), "its keyword job is not a text"),
        (message(([], {"job": "j", "segment": True}, {}), task="segment"), "its keyword segment"),
        (message(stamps=[1]), "its header stamps"),
        (message(7), "its body is not \\[arguments"),
        (message(([], [], {})), "its keywords"),
        (message((7, {}, {})), "its arguments"),
        (message(([], {}, 7)), "its callbacks"),
        (message(([], {}, {"errbacks": "x"})), "its errbacks"),
        (message(([], {}, {"callbacks": [{}]})), "its callbacks"),
        (message(([], {}, {"chain": [SIGNATURE, 7]})), "its chain"),
        (message(([], {}, {"chord": {"task": 7}})), "its chord"),
        (message(compression="zstd"), "its compression is 'zstd'; send gzip"),
        (message(compression="gzip"), "its body cannot be decompressed"),
        ({**message(), "content-type": "application/x-python-serialize"}, "its serializer is .*; send JSON"),
        ({**message(), "content-encoding": "binary"}, "its encoding"),
        ({**message(), "body": "!!"}, "its body is not base64"),
        ({**message(), "body": None}, "its body is not a text"),
        ({**message(), "headers": None}, "its headers"),
        ({**message(), "properties": 7}, "it has no properties"),
        ({**message(7), "headers": {}}, "it does not name a task"),
    ],
)
def test_anything_else_is_named(refused: Any, reason: str) -> None:
    with pytest.raises(MessageProblem, match=reason):
        check_message(refused, TASKS)


def test_time_limits_are_dropped_where_a_process_would_be_killed_at_them() -> None:
    limited = message(timelimit=[1, 1])
    drop_time_limits(limited)
    check_message(limited, TASKS)
    assert "timelimit" not in limited["headers"]
    old = {**message({"task": "transcribe", "id": "i", "timelimit": [1, None]}), "headers": {}}
    with pytest.raises(MessageProblem, match="its timelimit cannot be kept"):
        check_message(old, TASKS)


def test_a_body_that_grows_when_decompressed_is_not_held_in_memory() -> None:
    bomb = message(b"".decode() + " " * (MESSAGE_LIMIT + 10), encode=gzip.compress, compression="gzip")
    with pytest.raises(MessageProblem, match="more than"):
        check_message(bomb, {})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_NAMES = st.sampled_from(["body", "content-type", "content-encoding", "headers", "properties"])
_HEADERS = st.sampled_from(["task", "id", "eta", "expires", "timelimit", "retries", "stamps", "compression", "group"])


@given(
    parts=st.dictionaries(_NAMES, _JSON, max_size=3), headers=st.dictionaries(_HEADERS, _JSON, max_size=4), body=_JSON
)
def test_no_message_raises_anything_else(parts: dict[str, Any], headers: dict[str, Any], body: Any) -> None:
    envelope = {**message(body, **headers), **parts}
    try:
        check_message(envelope, TASKS)
    except MessageProblem as problem:
        assert str(problem)
    task_id_of(json.dumps(envelope))
