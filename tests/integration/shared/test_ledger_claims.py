"""Who may plan or assemble a job, and what becomes of one that takes its processes down, on a real Redis."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.support.ledger_by_hand import LedgerByHand, plan, request, result
from whisper_fleet.shared.errors import AssemblyFailed, PlanningFailed
from whisper_fleet.shared.wire import JobState

pytestmark = pytest.mark.integration


@pytest.fixture
def ledger(redis: Redis) -> LedgerByHand:
    return LedgerByHand(redis)


def test_only_one_planner_has_a_job_until_its_lease_runs_out(ledger: LedgerByHand) -> None:
    ledger.accept("j", request(), 1.0)
    assert ledger.begin("j", JobState.ACCEPTED, "a", 40.0, 2.0)
    assert ledger.begin("j", JobState.ACCEPTED, "a", 50.0, 12.0)
    assert not ledger.begin("j", JobState.ACCEPTED, "b", 60.0, 20.0)
    assert ledger.begin("j", JobState.ACCEPTED, "b", 90.0, 51.0)
    ledger.plan("j", plan(1), 52.0)
    assert not ledger.begin("j", JobState.ACCEPTED, "b", 90.0, 53.0)


def test_a_job_whose_planner_died_is_anothers_as_soon_as_recovery_asks_for_it_again(ledger: LedgerByHand) -> None:
    ledger.accept("j", request(), 1.0)
    assert ledger.begin("j", JobState.ACCEPTED, "dead", 40.0, 2.0)
    assert ledger.due(41.0, 71.0) == [("j", JobState.ACCEPTED, True)]
    assert ledger.begin("j", JobState.ACCEPTED, "b", 72.0, 42.0)
    assert not ledger.begin("j", JobState.ACCEPTED, "c", 73.0, 43.0)


def test_a_job_with_which_planner_after_planner_is_lost_is_not_planned_for_ever(ledger: LedgerByHand) -> None:
    ledger.accept("j", request(), 0.0)
    for death in (40.0, 80.0, 120.0):
        assert ledger.begin("j", JobState.ACCEPTED, f"dies at {death}", death, death - 30)
        assert ledger.due(death, death + 10) == [("j", JobState.ACCEPTED, True)]
    with pytest.raises(PlanningFailed, match="3 intake processes"):
        ledger.begin("j", JobState.ACCEPTED, "another", 200.0, 131.0)
    assert ledger.due(130.0, 170.0) == [("j", JobState.ACCEPTED, False)]


def test_a_job_whose_assembly_takes_processes_down_is_not_assembled_for_ever(ledger: LedgerByHand) -> None:
    ledger.accept("j", request(), 0.0)
    assert ledger.begin("j", JobState.ACCEPTED, "planner", 31.0, 1.0)
    ledger.plan("j", plan(1), 2.0)
    ledger.finish(ledger.running("j"), result(), 4.0)
    assert not ledger.begin("j", JobState.ACCEPTED, "planner", 35.0, 5.0)
    for death in (40.0, 80.0, 120.0):
        assert ledger.begin("j", JobState.ASSEMBLING, f"dies at {death}", death, death - 30)
        assert not ledger.begin("j", JobState.ASSEMBLING, "another", death, death - 20)
        assert ledger.due(death, death + 10) == [("j", JobState.ASSEMBLING, True)]
    with pytest.raises(AssemblyFailed, match="3 intake processes"):
        ledger.begin("j", JobState.ASSEMBLING, "another", 200.0, 131.0)
