"""Celery's configuration follows the settings."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu.transport.redis import Channel

from whisper_fleet.shared.settings import load_settings

CONFIG = Path(__file__).parents[2] / "celeryconfig.py"


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


@pytest.mark.parametrize("retention", [7 * 86400, 3600, 300])
def test_a_message_does_not_come_again_after_the_ledger_forgot_its_job(
    retention: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPER_FLEET_JOB_RETENTION", str(retention))
    timeout = runpy.run_path(str(CONFIG))["broker_transport_options"]["visibility_timeout"]
    channel: Any = Channel  # the stubs do not know these two attributes
    looked_for = channel.unacked_restore_interval * channel.unacked_restore_throttle
    assert timeout + looked_for < retention
    assert timeout <= 86400


def test_ticks_do_not_expire_because_hosts_differ_in_their_clocks() -> None:
    schedule = runpy.run_path(str(CONFIG))["beat_schedule"]
    assert schedule
    assert not any("expires" in entry["options"] for entry in schedule.values())
