"""A client's mistake is one line in the log of intake, without a traceback."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery.app.trace import get_log_policy, log_policy_expected, log_policy_unexpected

from whisper_fleet.scheduler.intake.tasks import assemble, transcribe
from whisper_fleet.shared.errors import EngineRequestInvalid, FileMissing, ModelUnavailable, SegmentFailed

EINFO: Any = SimpleNamespace(internal=False)


@pytest.mark.parametrize("kind", [FileMissing, SegmentFailed, ModelUnavailable, EngineRequestInvalid])
def test_what_a_client_has_to_fix_is_expected(kind: type[Exception]) -> None:
    assert get_log_policy(transcribe, EINFO, kind("x")) == log_policy_expected
    assert get_log_policy(assemble, EINFO, kind("x")) == log_policy_expected


def test_an_error_of_the_fleet_is_not() -> None:
    assert get_log_policy(transcribe, EINFO, RuntimeError("x")) == log_policy_unexpected
