"""The fields of OpenAI's audio forms, read one by one; each error names its field. Pure.

Arrays come as `name[]`, as `name`, and as `name[0]`; clients differ.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from whisper_fleet.http.errors import ApiError

_ARRAY = re.compile(r"^([A-Za-z_]+)\[(\d*)\]$")
_TRUE, _FALSE = ("true", "1"), ("false", "0", "")


class Fields:
    """The fields of one form, of which each is taken once; what is left at the end is unknown."""

    def __init__(self, given: Mapping[str, Sequence[str]]) -> None:
        self._left: dict[str, list[str]] = {}
        for name, values in given.items():
            array = _ARRAY.match(name)
            self._left.setdefault(array[1] if array else name, []).extend(values)

    def text(self, name: str) -> str | None:
        """Return a text; None if it is missing or empty."""
        values = self._left.pop(name, [])
        if len(values) > 1:
            raise ApiError(400, f"{name} was sent {len(values)} times", param=name)
        return values[0] if values and values[0] != "" else None

    def texts(self, name: str) -> list[str]:
        """Return the values of an array, empty ones left out."""
        return [value for value in self._left.pop(name, []) if value]

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """Return one of the choices."""
        value = self.text(name) or default
        if value not in choices:
            raise wrong(name, value, f"one of {', '.join(choices)}")
        return value

    def number(self, name: str, least: float, most: float) -> float | None:
        """Return a number within limits; None if it is missing."""
        value = self.text(name)
        if value is None:
            return None
        try:
            number = float(value)
        except ValueError:
            raise wrong(name, value, "a number") from None
        if not math.isfinite(number) or not least <= number <= most:
            raise wrong(name, value, f"between {least:g} and {most:g}")
        return number

    def flag(self, name: str) -> bool:
        """Return whether a flag is set."""
        value = (self.text(name) or "").lower()
        if value not in _TRUE + _FALSE:
            raise wrong(name, value, "true or false")
        return value in _TRUE

    def has_group(self, name: str) -> bool:
        """Take an object that is sent as `name`, or as `name[key]`; return whether there was one."""
        names = [known for known in self._left if known == name or known.startswith(f"{name}[")]
        values = [value for known in names for value in self._left.pop(known)]
        return any(values)

    def rest(self) -> dict[str, Any]:
        """Return the fields that nobody took, each read as JSON if it is JSON."""
        return {name: _value(values[-1]) for name, values in self._left.items()}


def wrong(name: str, value: str, expected: str) -> ApiError:
    """Return the error for a field with a wrong value."""
    shown = value if len(value) <= 100 else f"{value[:100]}..."
    return ApiError(400, f"{name} is {shown!r}: it must be {expected}", param=name, code="invalid_value")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
