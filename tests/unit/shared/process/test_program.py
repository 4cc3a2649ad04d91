"""The name of a process by its command line."""

from __future__ import annotations

import pytest

from whisper_fleet.shared.process.program import program_name


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python -m celery -A app worker -n intake@box -Q transcribe", "intake"),
        ("python -m celery -A app worker -P custom --hostname gpu12@box", "gpu12"),
        ("python -m celery -A whisper_fleet.scheduler.app beat --loglevel INFO", "beat"),
        ("python -m celery -A whisper_fleet.scheduler.monitoring.flower_app flower --port=1", "flower"),
        ("python /venv/bin/celery -A whisper_fleet.scheduler.app beat", "beat"),
        ("python -m whisper_fleet.http 8000", "http"),
        ("python -m whisper_fleet.workers.engine --log-level INFO serve", "engine"),
        ("python /venv/bin/whisper-fleet up", "whisper-fleet"),
        ("python", "python"),
    ],
)
def test_a_process_is_named_by_what_it_runs(command: str, name: str) -> None:
    assert program_name(command.split()) == name
