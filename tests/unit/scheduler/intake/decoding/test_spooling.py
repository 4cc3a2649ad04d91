"""What is spooled of a file, and what is left to slots to decode."""

from __future__ import annotations

from pathlib import Path

import pytest

from whisper_fleet.scheduler.intake.decoding.pressure import Pressure
from whisper_fleet.scheduler.intake.decoding.spooling import SpoolWriter, pressure
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.settings import Settings


def test_segments_are_written_while_there_is_room(tmp_path: Path) -> None:
    settings = Settings(spool_dir=tmp_path, spool_limit_bytes=25)
    writer = SpoolWriter("j", settings)
    assert [writer.write(index, b"0123456789") for index in range(3)] == ["j/0.s16le", "j/1.s16le", None]
    assert Spool(settings).used() == 20


def test_half_is_left_to_files_that_are_decoded_on(tmp_path: Path) -> None:
    writer = SpoolWriter("j", Settings(spool_dir=tmp_path, spool_limit_bytes=45))
    names = [writer.write(index, b"0123456789", is_decoding_on=False) for index in range(3)]
    assert names == ["j/0.s16le", "j/1.s16le", None]
    assert writer.write(3, b"0123456789") == "j/3.s16le"


def test_room_that_others_took_or_left_is_seen_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("whisper_fleet.scheduler.intake.decoding.spooling.time.monotonic", lambda: clock[0])
    settings = Settings(spool_dir=tmp_path, spool_limit_bytes=20)
    writer = SpoolWriter("j", settings)
    assert writer.has_room(20)
    Spool(settings).write("other", 0, b"0123456789")
    clock[0] = 6.0
    assert not writer.has_room(20) and writer.has_room(10)
    Spool(settings).remove("other/0.s16le")
    clock[0] = 12.0
    assert writer.has_room(20)


def test_the_pressure_is_that_of_the_spool_in_segments(tmp_path: Path) -> None:
    settings = Settings(spool_dir=tmp_path, spool_limit_bytes=45)
    SpoolWriter("j", settings).write(0, b"0123456789")
    SpoolWriter("k", settings).write(0, b"0123456789")
    assert pressure(10, 4, settings) == Pressure(slots=4, spooled=2.0, has_room=True)
    assert not pressure(26, 4, settings).has_room


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    Spool(Settings(spool_dir=tmp_path)).remove("none/0.s16le")
