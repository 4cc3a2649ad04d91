"""Extensions that installed packages bring, found by Python's entry points."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any


@cache
def extensions(group: str) -> dict[str, Any]:
    """Return what the entry points of a group name, by their names in alphabetical order.

    They are loaded at the first call of this process; an extension that cannot be imported raises its own error.
    """
    found = sorted(entry_points(group=group), key=lambda entry: entry.name)
    return {entry.name: entry.load() for entry in found}
