"""The guide to Celery's tools shows code that the tests of these tools run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "guide" / "celery.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def lines_of(code: str) -> list[str]:
    return [line.strip() for line in code.splitlines() if line.strip()]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_part_of_a_workflow_that_is_run(example: str) -> None:
    code = lines_of((REPOSITORY / "tests" / "support" / "workflows.py").read_text())
    shown = lines_of(example)
    assert any(code[start : start + len(shown)] == shown for start in range(len(code)))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 6
