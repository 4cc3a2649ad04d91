"""Pages of lists as OpenAI's API has them: `after` is the id of the last entry of the page before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from whisper_fleet.http.errors import ApiError

T = TypeVar("T")


class Page(BaseModel):
    """A page of a list."""

    object: str = "list"
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


def page_of(
    entries: Sequence[T], limit: int, after: str | None, name: Callable[[T], str], shown: Callable[[T], dict[str, Any]]
) -> Page:
    """Return the entries behind `after`; raises ApiError if there is no such entry. Pure."""
    first = 0
    if after is not None:
        first = next((number for number, entry in enumerate(entries, 1) if name(entry) == after), -1)
        if first < 0:
            raise ApiError(400, f"after={after[:100]!r} is not in the list", param="after")
    chosen = entries[first : first + limit]
    return Page(
        data=[shown(entry) for entry in chosen],
        first_id=name(chosen[0]) if chosen else None,
        last_id=name(chosen[-1]) if chosen else None,
        has_more=first + limit < len(entries),
    )
