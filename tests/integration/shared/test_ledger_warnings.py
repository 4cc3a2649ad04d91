"""Warnings of a job, from its plan to its progress and its record."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.support.ledger_by_hand import GPU, LedgerByHand, plan, request, result
from whisper_fleet.shared.wire import JobWarning

pytestmark = pytest.mark.integration


@pytest.fixture
def ledger(redis: Redis) -> LedgerByHand:
    return LedgerByHand(redis)


def test_warnings_are_kept_and_are_part_of_every_progress(ledger: LedgerByHand) -> None:
    warning = JobWarning(kind="gap", message="a hole", at=3.0)
    for job, warnings in (("good", ()), ("bad", (warning,))):
        ledger.accept(job, request(), 1.0)
        assert ledger.plan(job, plan(1).model_copy(update={"warnings": warnings}), 2.0)
        message = ledger.assigned(job, 0)
        ledger.start(message, GPU, 120.0, 3.0)
        shown = ledger.progress(message, 30.0, 120.0, 4.0)
        end = ledger.finish(message, result("One."), 5.0).progress
        assert shown is not None and end is not None
        assert shown.warnings == end.warnings == ledger.job(job).warnings == ledger.job(job).progress(6.0).warnings
        assert ledger.job(job).warnings == warnings
        assert ("warnings" in shown.model_dump()) is bool(warnings)
