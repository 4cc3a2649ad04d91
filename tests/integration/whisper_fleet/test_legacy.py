"""The classes of the guide, in its own example program, against a fleet with a very small model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fleet_processes import ALL, running_fleet
from tests.support.guide_example import check_guide_example, run_guide_example

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


def test_the_complete_example_of_the_guide_runs(
    redis_url: str, tmp_path: Path, tiny_model: Path, speech: dict[Path, str]
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    with running_fleet(ALL, redis_url, tmp_path, tiny_model.parent, default_precision="float32") as fleet:
        check_guide_example(run_guide_example(fleet, speech, files, tiny_model), files)
