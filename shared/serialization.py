"""The base of every type that crosses a process border."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict

#: The validation context of `Wire.from_json`: what a process of the fleet wrote was checked before it was written.
WRITTEN_BY_THE_FLEET = object()


class Wire(BaseModel):
    """A frozen value with keyword arguments, whose only serialisation is `to_json` and `from_json`.

    An unknown field is an error where the value is made. It is left out where the value is read, because a process
    of a newer version may have written it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def to_json(self) -> str:
        """Return the value as JSON, without the fields that are None."""
        return self.model_dump_json(exclude_none=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what a process of this fleet wrote; raises pydantic's ValidationError."""
        return cls.model_validate_json(text, extra="ignore", context=WRITTEN_BY_THE_FLEET)
