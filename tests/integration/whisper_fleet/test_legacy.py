"""The classes of the guide, in its own example program, against a fleet with a very small model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.fleet_processes import ALL, running_fleet
from tests.support.guide_example import check_guide_example, run_guide_example

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


def test_the_complete_example_of_the_guide_runs(
    redis_url: str, tmp_path: Path, tiny_model: Path, speech: dict[Path, str]
) -> None:
    models, files = tmp_path / "models", tmp_path / "files"
    models.mkdir()
    files.mkdir()
    shutil.copy(tiny_model, models / "base.pt")  # the example asks for base
    with running_fleet(ALL, redis_url, tmp_path, models, default_precision="float32") as fleet:
        check_guide_example(run_guide_example(fleet, speech, files), files)
