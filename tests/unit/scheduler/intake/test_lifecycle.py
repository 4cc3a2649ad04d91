"""Importing the tasks of intake hooks nothing; an intake node's bootstep does, and only there."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from kombu.utils.imports import symbol_by_name

from whisper_fleet.scheduler.app import make_app
from whisper_fleet.scheduler.intake.node.lifecycle import IntakeStep
from whisper_fleet.shared import names


def test_every_process_of_the_scheduler_knows_the_step_by_name() -> None:
    assert IntakeStep in [symbol_by_name(step) for step in make_app().steps["worker"]]


@pytest.mark.parametrize(("tasks", "included"), [({names.TRANSCRIBE: None}, True), ({names.DISPATCH: None}, False)])
def test_only_a_node_with_the_tasks_of_intake_takes_the_step(tasks: dict[str, None], included: bool) -> None:
    worker = SimpleNamespace(app=SimpleNamespace(tasks=tasks), steps=[])
    assert IntakeStep(worker).include_if(worker) is included
