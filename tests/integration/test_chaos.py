"""Five quick faults of `make chaos` with a small load: docs/benchmarks/chaos.md."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos import faults
from tests.chaos.leftovers import leftovers
from tests.chaos.rows import ROWS
from tests.chaos.run import Runner, Size
from tests.chaos.scene.machine import missing
from tests.chaos.scene.scene import Scene

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

faults.load()
#: One of each kind: a crash of what computes, of what plans, of what supervises, of the store, and of what is sent.
QUICK = (
    "SIGKILL engine",
    "SIGKILL intake child",
    "SIGKILL supervisord",
    "Redis killed, back after 5 s",
    "hostile messages on the queues of schedulers and nodes",
)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    size = Size(jobs=12, segments=3, patience=150.0)
    scene = Scene(tmp_path_factory.mktemp("chaos"), segments=size.segments)
    try:
        scene.start()
        running = Runner(scene, size)
        running.reference()
        yield running
    finally:
        scene.close()


@pytest.mark.parametrize("name", QUICK)
def test_nothing_is_lost_doubled_or_altered(runner: Runner, name: str) -> None:
    row = ROWS[name]
    if reason := missing(row, runner.scene):
        pytest.skip(reason)
    verdict = runner.run(row, looks_for_leftovers=False)
    assert verdict.is_clean, verdict


def test_nothing_is_left_over(runner: Runner) -> None:
    """It runs last and covers all faults before it, because consumers that died are noticed after a while."""
    assert leftovers(runner.scene, []) == ()
