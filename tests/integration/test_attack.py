"""A short form of `make attack`, see docs/benchmarks/attack.md.

Each attack fails if a job has no answer, or an untyped one, if a process ends, or if a log has a traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack import attacks
from tests.attack.report import total
from tests.attack.target import Target, attacked

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

REQUESTS, FILES = 200, 20


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Target]:
    with attacked(tmp_path_factory.mktemp("attacked"), tiny_model) as running:
        yield running


def test_random_requests(target: Target) -> None:
    attacks.random_requests(target, REQUESTS, seed=100)


def test_damaged_files(target: Target) -> None:
    attacks.mutated_media(target, FILES, seed=100)


def test_messages_on_every_queue(target: Target) -> None:
    attacks.unreadable_messages(target)
    attacks.odd_messages(target)


def test_every_case_was_answered(target: Target) -> None:
    """The last test."""
    sum_of_all = total(target.verdicts)
    assert sum_of_all.cases > REQUESTS + FILES + 100
    assert (sum_of_all.unanswered, sum_of_all.untyped) == ([], {})
