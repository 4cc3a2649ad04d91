"""The table of faults, and how its rows are chosen."""

from __future__ import annotations

import pytest

from tests.chaos import faults
from tests.chaos.report import table
from tests.chaos.rows import ROWS, select
from tests.chaos.run import Size
from tests.chaos.soak.__main__ import FAULTS
from tests.support.fleet_command import ALL_PROGRAMS

faults.load()


def test_patterns_choose_rows_in_their_order() -> None:
    names = [row.name for row in select(["host cut off for 9*", "SIGKILL engine", "SIGKILL e*"])]
    assert names == ["host cut off for 90 s", "SIGKILL engine"]


def test_slow_rows_run_only_when_they_are_wanted() -> None:
    slow = [row.name for row in ROWS.values() if row.is_slow]
    assert slow
    assert not set(slow) & {row.name for row in select([])}
    assert set(slow) <= {row.name for row in select([], slow=True)}
    assert select(slow[:1])


def test_a_pattern_without_a_row_is_an_error() -> None:
    with pytest.raises(SystemExit, match="no row matches"):
        select(["SIGKILL engin"])


def test_every_kind_of_process_is_killed_stopped_and_frozen() -> None:
    for kind in (*ALL_PROGRAMS.keys() - {"redis"}, "front", "scheduler child", "intake child"):
        assert {f"SIGKILL {kind}", f"SIGTERM {kind}", f"SIGSTOP {kind} for 40 s"} <= ROWS.keys()


def test_a_soak_knows_its_faults() -> None:
    assert set(FAULTS) <= ROWS.keys()


def test_a_skipped_row_says_why_in_the_table() -> None:
    assert "| disk full |  |  |  |  |  |  | not run: no mounts |" in table({"disk full": "no mounts"}, Size())
