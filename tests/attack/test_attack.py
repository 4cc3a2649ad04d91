"""Everything that a hostile or broken client can send, against a live fleet: `make attack`.

The report goes to the terminal, and to the file that ATTACK_TABLE names: see docs/benchmarks/attack.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack import attacks
from tests.attack.target import Target, attacked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

#: Divides the number of random cases, for a first look.
SHARE = int(os.environ.get("ATTACK_SHARE", "1"))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Target]:
    with attacked(tmp_path_factory.mktemp("attacked"), tiny_model) as running:
        yield running
        report = running.report()
        print(f"\n{report}")
        if place := os.environ.get("ATTACK_TABLE"):
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            Path(place).write_text(report)


def test_requests(target: Target) -> None:
    for batch in range(20):
        attacks.random_requests(target, 500 // SHARE, seed=batch)


def test_media(target: Target) -> None:
    attacks.mutated_media(target, 500 // SHARE, seed=1)


def test_messages(target: Target) -> None:
    attacks.unreadable_messages(target)
    attacks.odd_messages(target)


def test_remote_control(target: Target) -> None:
    attacks.remote_control(target)


def test_files(target: Target) -> None:
    attacks.forbidden_files(target)
    attacks.swapped_input(target, 40)
    attacks.swapped_output(target, 40)


def test_costs(target: Target) -> None:
    attacks.expansion(target)
    attacks.hostile_models(target)


def test_network(target: Target) -> None:
    attacks.slow_addresses(target, 8)


@pytest.mark.skipif(SHARE > 1, reason="caches are still being filled")
def test_nothing_was_kept(target: Target) -> None:
    """The last test: no process holds what the attacks made it take."""
    target.check_figures()
