"""The reference pages are what the code declares."""

from __future__ import annotations

import pytest

from docs.generate import FOLDER, pages


@pytest.mark.parametrize("name", pages())
def test_a_reference_page_is_up_to_date(name: str) -> None:
    written = (FOLDER / name).read_text()
    assert written == pages()[name], f"docs/reference/{name} is out of date: run `python -m docs.generate`"
