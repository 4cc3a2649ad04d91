"""Settings that change while the fleet runs: by `whisper-fleet reload`, and by SIGHUP of one process."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from tests.support.fleet_processes import FleetProcesses
from tests.support.redis_server import free_port
from tests.support.waiting import wait_until
from whisper_fleet.scheduler import beat as beat_module
from whisper_fleet.scheduler.beat import TickScheduler, intervals
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.process.record import read_records
from whisper_fleet.shared.settings import Settings

pytestmark = pytest.mark.integration

COMMAND = str(Path(sys.executable).parent / "whisper-fleet")
PROGRAMS = ("beat", "scheduler", "intake", "http", "gpu0")


class Fleet(FleetProcesses):
    """A fleet whose settings file the test writes."""

    @property
    def file(self) -> Path:
        return self.directory / "fleet.toml"

    @property
    def run(self) -> Path:
        return self.directory / "var" / "run"

    def write(self, *lines: str) -> None:
        """Write the settings file."""
        self.file.write_text("\n".join(lines))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command on this fleet's machine."""
        call = [COMMAND, *arguments]
        return subprocess.run(call, env=self.environment, capture_output=True, text=True, timeout=60)

    def logged(self, name: str, text: str) -> bool:
        return text in self.log(name).read_text()


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path, tiny_model: Path) -> Iterator[Fleet]:
    fleet = Fleet(redis_url, tmp_path, tiny_model.parent, http_port=free_port(), feeders=1, autoscale_interval=0.5)
    fleet.environment["WHISPER_FLEET_CONFIG"] = str(fleet.file)
    fleet.write("max_concurrent_limit = 1")
    try:
        fleet.start(*PROGRAMS)
        yield fleet
    finally:
        fleet.stop()


def outcome(fleet: Fleet, clip: Path, model: Path) -> str:
    """Submit a file and return the name of the error, or the job's state."""
    job = fleet.submit(file_path=clip, model_name=str(model))
    wait_until(job.ready)
    return type(job.result).__name__ if job.state == "FAILURE" else str(job.state)


def slots(fleet: Fleet) -> int:
    """Return the slots of the fleet's GPU."""
    return next(gpu.slots for gpu in GpuRegistry(fleet.redis).all())


def test_a_reload_reaches_every_process_and_a_wrong_file_changes_nothing(
    fleet: Fleet, speech: dict[Path, str], tiny_model: Path
) -> None:
    wait_until(lambda: {record.program for record in read_records(fleet.run)} == set(PROGRAMS))
    clip = next(iter(speech))
    assert outcome(fleet, clip, tiny_model) == "SUCCESS"
    assert slots(fleet) == 1

    fleet.write("max_concurrent_limit = 2", 'media_roots = ["/nowhere"]', 'log_level = "DEBUG"', "decoders = 3")
    reloaded = fleet.command("reload")
    assert reloaded.returncode == 0, reloaded.stderr
    for program in PROGRAMS:
        assert f"{program} changed log_level, max_concurrent_limit, media_roots;" in reloaded.stdout
    assert reloaded.stdout.count("restart it for decoders") == len(PROGRAMS)

    assert outcome(fleet, clip, tiny_model) == "PathNotAllowed"  # in a child of intake's pool
    wait_until(lambda: slots(fleet) == 2)

    fleet.write("max_concurrent_limit = 0")
    refused = fleet.command("reload")
    assert refused.returncode == 1
    assert "max_concurrent_limit" in refused.stderr
    fleet.processes["intake"].send_signal(signal.SIGHUP)
    wait_until(lambda: fleet.logged("intake", "the settings stay as they are: max_concurrent_limit"))
    assert outcome(fleet, clip, tiny_model) == "PathNotAllowed"
    assert all(process.poll() is None for process in fleet.processes.values())


# The tasks of every module that was imported before are registered with this app, too.
@pytest.mark.filterwarnings("ignore::celery.exceptions.DuplicateTaskNameWarning")
def test_beat_follows_a_new_interval(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(redis_url=redis_url)
    monkeypatch.setattr(beat_module, "load_settings", lambda: settings)
    with Celery(broker=redis_url, set_as_current=False) as app:
        app.conf.beat_schedule = {
            name: {"task": name, "schedule": seconds, "options": {"queue": "scheduler"}}
            for name, seconds in intervals(settings).items()
        }
        beat = TickScheduler(app=app)
        beat.tick()
        before = {name: entry.schedule.seconds for name, entry in beat.schedule.items()}
        vars(settings).update(janitor_interval=7.0)
        beat.tick()
        after = {name: entry.schedule.seconds for name, entry in beat.schedule.items()}
        beat.close()
    assert after == {**before, "clean": 7.0}
    assert before == intervals(Settings(redis_url=redis_url))
