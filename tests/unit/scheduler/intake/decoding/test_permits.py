"""A host decodes so many long files at a time, whatever becomes of the processes that do."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from whisper_fleet.scheduler.intake.decoding.permits import Permit, decoder_count, free_permits, spare_processes
from whisper_fleet.shared.host import read_host
from whisper_fleet.shared.settings import Settings


def settings(directory: Path, decoders: int | None = 2) -> Settings:
    return Settings(var_dir=directory, decoders=decoders)


def test_there_are_as_many_permits_as_decoders(tmp_path: Path) -> None:
    known = settings(tmp_path)
    with Permit(known) as one, Permit(known) as two, Permit(known) as three:
        assert free_permits(known) == 2
        assert one.acquire() and one.acquire() and two.acquire()
        assert free_permits(known) == 0
        assert not three.acquire()
    assert free_permits(known) == 2


def test_a_context_without_a_permit_releases_none(tmp_path: Path) -> None:
    known = settings(tmp_path, 1)
    with Permit(known) as held:
        assert held.acquire()
        with Permit(known) as other:
            assert not other.acquire()
        assert free_permits(known) == 0


def test_a_process_that_is_killed_releases_its_permit(tmp_path: Path) -> None:
    known = settings(tmp_path, 1)
    ready, taken = os.pipe()
    if (child := os.fork()) == 0:
        with Permit(known) as permit:
            os.write(taken, b"1" if permit.acquire() else b"0")
            signal.pause()
    assert os.read(ready, 1) == b"1"
    assert free_permits(known) == 0
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert free_permits(known) == 1
    os.close(ready)
    os.close(taken)


def test_where_no_lock_can_be_kept_nothing_is_held_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    with Permit(settings(tmp_path / "file")) as permit:
        assert permit.acquire()
    assert "the number of decoders is not limited" in caplog.text


def test_the_setting_replaces_the_number_of_cores(tmp_path: Path) -> None:
    assert decoder_count(settings(tmp_path, 5)) == 5
    assert decoder_count(settings(tmp_path, None)) == read_host().cores


@pytest.mark.parametrize(("decoders", "spare"), [(1, 3), (2, 3), (8, 3), (16, 4), (64, 16)])
def test_some_processes_are_left_for_short_files(decoders: int, spare: int) -> None:
    assert spare_processes(decoders) == spare
