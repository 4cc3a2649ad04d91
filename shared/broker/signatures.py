"""Checks of what follows a task: its callbacks, the rest of its chain, its chord. Pure.

Celery reads them when the task ends. A mistake in them would cost the job its answer then, so it is found when the
message is received.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from kombu import serialization

#: Signatures in one message, those inside of others counted too.
_MOST_SIGNATURES = 1000
_DEEPEST = 20
#: Celery's names of signatures that contain others, and the keyword that holds them.
_CONTAINERS = {
    "chain": "tasks",
    "group": "tasks",
    "chord": "header",
    "chunks": "task",
    "xmap": "task",
    "xstarmap": "task",
}

_NEED_A_TYPE = frozenset(
    f"celery.{name}" for name in ("chain", "group", "chord", "chunks", "map", "starmap", "accumulate", "chord_unlock")
)

_TEXTS = frozenset(
    {
        *("task_id", "root_id", "parent_id", "group_id", "queue", "exchange", "routing_key", "reply_to", "serializer"),
        *("compression", "shadow", "exchange_type"),
    }
)
_NUMBERS = frozenset(
    {
        "countdown",
        "priority",
        "delivery_mode",
        "retries",
        "time_limit",
        "soft_time_limit",
        "group_index",
        "replaced_task_nesting",
    }
)
#: Objects of the program that sends, which no message can hold.
_OBJECTS = frozenset({"producer", "connection", "router", "publisher", "app", "task_type"})
_FLAGS = frozenset({"immutable", "ignore_result", "mandatory", "immediate", "retry", "add_to_parent"})


class SignatureProblem(ValueError):
    """What follows a task cannot be sent; the text says what is wrong with it."""


def check_followers(embed: Mapping[str, Any], internal: Collection[str] = ()) -> None:
    """Raise SignatureProblem unless Celery can send what these parts of a message hold.

    `internal` are the tasks that no client may send.
    """
    left = _Rest(_MOST_SIGNATURES, internal)
    for name in ("callbacks", "errbacks", "chain"):
        signatures = embed.get(name)
        if not isinstance(signatures, list | None):
            raise SignatureProblem(f"its {name} are not a list")
        for signature in signatures or ():
            _check(signature, f"its {name}", left)
    if embed.get("chord") is not None:
        _check(embed["chord"], "its chord", left)


class _Rest:
    """How many more signatures a message may hold, and of which tasks it may hold none."""

    def __init__(self, signatures: int, internal: Collection[str]) -> None:
        self.signatures = signatures
        self.internal = internal


def _check(signature: Any, where: str, left: _Rest, depth: int = 0) -> None:
    left.signatures -= 1
    if left.signatures < 0 or depth > _DEEPEST:
        raise SignatureProblem(f"{where} hold more than {_MOST_SIGNATURES} signatures, or nest them too deep")
    if not _has_parts(signature):
        raise SignatureProblem(
            f"{where} hold something that is not a signature: an object with task, args, kwargs and options"
        )
    if signature["task"] in left.internal:
        raise SignatureProblem(f"{where} hold the task {signature['task']}, which only the fleet itself sends")
    _check_options(signature["options"], where, left, depth)
    kind = signature.get("subtask_type")
    if kind is None:
        if signature["task"] in _NEED_A_TYPE:
            raise SignatureProblem(f"{where} hold a group, chain or chord that is not marked as one")
        return
    if kind not in _CONTAINERS:
        raise SignatureProblem(f"{where} hold a signature of a type that Celery does not know")
    contained = signature["kwargs"].get(_CONTAINERS[kind])
    body = [signature["kwargs"]["body"]] if kind == "chord" and "body" in signature["kwargs"] else []
    for inner in [*_as_list(contained, where), *body]:
        _check(inner, where, left, depth + 1)


def _as_list(contained: Any, where: str) -> list[Any]:
    if isinstance(contained, dict):
        return [contained]
    if not isinstance(contained, list) or not contained:
        raise SignatureProblem(f"{where} hold a group, chain or chord without tasks")
    return contained


def _has_parts(signature: Any) -> bool:
    return (
        isinstance(signature, dict)
        and isinstance(signature.get("task"), str)
        and bool(signature["task"])
        and isinstance(signature.get("args"), list | tuple)
        and isinstance(signature.get("kwargs"), dict)
        and isinstance(signature.get("options"), dict)
        and isinstance(signature.get("subtask_type"), str | None)
        and isinstance(signature.get("immutable", False), bool)
        and isinstance(signature.get("chord_size"), int | None)
    )


def _check_options(options: Mapping[str, Any], where: str, left: _Rest, depth: int) -> None:
    for name, value in options.items():
        if value is None:
            continue
        if not _is_sendable(name, value):
            raise SignatureProblem(f"{where} hold a signature whose option {str(name)[:60]!r} Celery cannot send")
        if name in ("link", "link_error"):
            for inner in value if isinstance(value, list) else [value]:
                _check(inner, where, left, depth + 1)
        if name == "chord":
            _check(value, where, left, depth + 1)
        if name == "chain":
            for inner in _as_list(value, where):
                _check(inner, where, left, depth + 1)


def _is_sendable(name: str, value: Any) -> bool:
    if name == "serializer":
        return isinstance(value, str) and _can_serialize(value)
    if name == "compression":
        return value in ("gzip", "zlib", "bzip2", "bz2", "application/x-gzip", "application/x-bz2")
    if name in _TEXTS:
        return isinstance(value, str)
    if name in _NUMBERS:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
    if name in _FLAGS:
        return isinstance(value, bool)
    if name in ("eta", "expires"):
        return isinstance(value, str) or (isinstance(value, int | float) and abs(value) < 1e9)
    return name not in _OBJECTS


def _can_serialize(name: str) -> bool:
    try:
        serialization.dumps([], name)
    except Exception:  # of a serializer that is unknown, or whose package is not installed
        return False
    return True
