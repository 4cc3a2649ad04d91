"""What follows a job for the client that sent it with Celery: callbacks, the rest of a chain, a chord, its ids.

`transcribe` ends when a job is planned, and `assemble` ends the job under the same id. The ledger keeps in between
what the message of `transcribe` carried, so that Celery itself continues with it when `assemble` ends.
"""

from __future__ import annotations

import json
from typing import Any

#: Celery's name for each part in a task's request, and in the options of `send_task`.
_PARTS = {
    "callbacks": "link",
    "errbacks": "link_error",
    "chain": "chain",
    "chord": "chord",
    "group": "group_id",
    "group_index": "group_index",
    "root_id": "root_id",
    "parent_id": "parent_id",
    "replaced_task_nesting": "replaced_task_nesting",
    "ignore_result": "ignore_result",
    "headers": "headers",
}

#: Names that no stamp can have: they would replace what the fleet itself decides about the message.
_RESERVED = frozenset({"name", "args", "kwargs", "task_id", "queue", "exchange", "routing_key", "eta", "countdown"})


class Continuation:
    """The options with which `transcribe` was sent, and with which `assemble` continues; immutable."""

    def __init__(self, options: dict[str, Any], stamps: dict[str, Any]) -> None:
        self._options = options
        self._stamps = stamps

    @classmethod
    def of(cls, request: Any) -> Continuation | None:
        """Return what a Celery request carries; None if nothing follows it."""
        parts = {option: getattr(request, part, None) for part, option in _PARTS.items()}
        options = {option: value for option, value in parts.items() if value or option == "group_index"}
        if options.get("group_index") is None:
            del options["group_index"]
        if options.get("root_id") == request.id:  # Celery's default
            del options["root_id"]
        stamped = [name for name in request.stamped_headers or () if name in (request.stamps or {})]
        stamps = {name: request.stamps[name] for name in stamped}
        return cls(options, stamps) if options or stamps else None

    @classmethod
    def from_json(cls, text: str) -> Continuation:
        """Return what `to_json` wrote."""
        stored = json.loads(text)
        return cls(stored["options"], stored["stamps"])

    def to_json(self) -> str:
        """Return the text that the ledger keeps."""
        return json.dumps({"options": self._options, "stamps": self._stamps}, sort_keys=True)

    @property
    def ignores_result(self) -> bool:
        """Whether the client wants no result stored."""
        return bool(self._options.get("ignore_result"))

    def send_options(self) -> dict[str, Any]:
        """Return the options of `send_task` that continue."""
        taken = _RESERVED | self._options.keys()
        stamps = {name: value for name, value in self._stamps.items() if name not in taken}
        stamped = {"stamped_headers": list(stamps), **stamps} if stamps else {}
        return {**self._options, **stamped}

    def restore(self, request: Any) -> None:
        """Give a Celery request what it lacks of this: the `assemble` of a node of an older version carries nothing."""
        for part, option in _PARTS.items():
            if option in self._options and not getattr(request, part, None):
                setattr(request, part, self._options[option])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Continuation) and other.to_json() == self.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())


def fields_of_entry(
    continuation: Continuation | None, not_before: float | None, expires: float | None, trace: str | None
) -> list[str | float]:
    """Return the arguments of the script `accept` behind `due`: the continuation, then names and values of fields."""
    fields: list[str | float] = ["" if continuation is None else continuation.to_json()]
    for name, value in (("not_before", not_before), ("expires", expires), ("trace", trace)):
        if value is not None:
            fields += [name, value]
    if continuation is not None and continuation.ignores_result:
        fields += ["ignore_result", 1]
    return fields
