"""The complete example of the guide runs against a real fleet with real speech."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fleet_processes import FleetProcesses
from tests.support.guide_example import TASKS, check_guide_example, run_guide_example

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(300)]


def test_the_complete_example_of_the_guide_runs(fleet: FleetProcesses, speech: dict[Path, str], tmp_path: Path) -> None:
    printed = run_guide_example(fleet, speech, tmp_path)
    check_guide_example(printed, tmp_path)
    assert all((tmp_path / f"output_{number}.txt").read_text().strip() for number in range(TASKS))
    assert any(line.startswith("活动任务: ") for line in printed)
