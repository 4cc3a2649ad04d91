"""The reference pages are what the code declares."""

from __future__ import annotations

import pytest

from docs.generate import FOLDER, README, pages, with_tables


@pytest.mark.parametrize("name", pages())
def test_a_reference_page_is_up_to_date(name: str) -> None:
    written = (FOLDER / name).read_text()
    assert written == pages()[name], f"docs/reference/{name} is out of date: run `python -m docs.generate`"


def test_the_tables_of_the_readme_are_up_to_date() -> None:
    written = README.read_text()
    assert written.count("written by `python -m docs.generate`") == 2
    assert written == with_tables(written), "README.md is out of date: run `python -m docs.generate`"
