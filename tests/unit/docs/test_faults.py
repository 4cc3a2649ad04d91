"""The page of faults names a test that exists for each of them."""

from __future__ import annotations

import re

import pytest

from tests.conftest import SPEECH

_REPOSITORY = SPEECH.parents[1]
_PAGE = _REPOSITORY / "docs/internals/faults.md"
_FAULTS = [
    line for line in _PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| fault | now |")
]


def test_there_are_faults_of_every_section() -> None:
    assert len(_FAULTS) > 40


@pytest.mark.parametrize("row", _FAULTS, ids=lambda row: row.split("|")[1].strip()[:60])
def test_each_fault_has_a_test_that_exists(row: str) -> None:
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row.split("|")[3])
    assert tests, row
    for file, name in tests:
        assert re.search(rf"^(async )?def {name}\(", (_REPOSITORY / file).read_text(), re.MULTILINE), f"{file}::{name}"
