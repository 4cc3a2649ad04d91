"""Intake nodes report themselves, and requests that none accepts are noticed."""

from __future__ import annotations

import logging

import pytest
from redis import Redis

from whisper_fleet.scheduler.intake.node.reports import intake_nodes, report_intake, withdraw_intake
from whisper_fleet.scheduler.upkeep.acceptance import Acceptance, reported_stall
from whisper_fleet.shared import names

pytestmark = pytest.mark.integration

NOW = 1000.0


def test_a_silent_or_withdrawn_intake_counts_no_longer(redis: Redis) -> None:
    report_intake(redis, "intake@a", 3, 10, NOW)
    report_intake(redis, "intake@b", 5, 2, NOW)
    assert sum(node.processes for node in intake_nodes(redis, NOW + 5)) == 8
    assert intake_nodes(redis, NOW + 60) == []
    withdraw_intake(redis, "intake@b")
    assert [node.accepted for node in intake_nodes(redis, NOW + 5)] == [10]


def test_requests_that_nothing_accepts_are_logged_once_and_shown(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    acceptance = Acceptance(redis)
    redis.lpush(names.TRANSCRIBE_QUEUE, "a request")
    with caplog.at_level(logging.WARNING):
        for second in range(0, 20, 2):
            acceptance.look(NOW + second)
        problem = reported_stall(redis, NOW + 18)
        assert problem is not None and problem.startswith("1 request waits, and intake has accepted none for 18 s")
        redis.delete(names.TRANSCRIBE_QUEUE)
        acceptance.look(NOW + 20)
    assert reported_stall(redis, NOW + 20) is None
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
