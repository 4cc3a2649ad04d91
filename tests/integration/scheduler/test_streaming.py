"""Long files, whose segments run while they are still being decoded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from redis import Redis

from tests.support.ledger_by_hand import GPU, LedgerByHand, result
from tests.support.long_files import CLIP, after_segments, check_plan, ffmpeg, make_fleet, make_long_file, take_in
from tests.support.plan_audio import plan_audio
from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.connect import connect_fail_fast
from whisper_fleet.shared.errors import AudioTooLong, CorruptAudio
from whisper_fleet.shared.wire import JobState

pytestmark = pytest.mark.integration


class Killed(BaseException):
    """Stands for the death of an intake process: nothing of it goes on, and nothing is tidied up."""


def die() -> None:
    raise Killed


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    monkeypatch.setattr("whisper_fleet.scheduler.services.connect", connect_fail_fast)
    return make_fleet(redis_url, tmp_path)


@pytest.fixture
def ledger(redis: Redis) -> LedgerByHand:
    return LedgerByHand(redis)


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_long_file(tmp_path_factory.mktemp("long"))


def test_segments_wait_for_gpus_while_their_file_is_decoded(
    fleet: Services, ledger: LedgerByHand, long_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look() -> None:
        record = ledger.job("j")
        seen.append((record.state, record.is_open, record.duration, ledger.segment_is_waiting("j", 1)))
        ledger.finish(ledger.running("j", 0), result(), 4.0)

    after_segments(monkeypatch, 2, look)
    assert take_in(fleet, long_file)
    assert seen == [(JobState.RUNNING, True, None, True)]
    record = ledger.job("j")
    assert not record.is_open and record.segments_done == 1 and record.segments_total == len(ledger.plans("j")) > 6
    check_plan(fleet, ledger, long_file)


@pytest.mark.parametrize("segments", [0, 1, 4])
def test_a_decoding_that_is_killed_is_continued_by_another_process(
    fleet: Services,
    redis_url: str,
    tmp_path: Path,
    ledger: LedgerByHand,
    long_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    segments: int,
) -> None:
    with monkeypatch.context() as once:
        after_segments(once, segments, die)
        with pytest.raises(Killed):
            take_in(fleet, long_file)
    before = ledger.plans("j")
    assert len(before) == segments
    other = make_fleet(redis_url, tmp_path)
    assert not take_in(other, long_file), "the claim of the process that died still holds"
    assert ledger.due(1e12, 1e12 + 30) == [("j", JobState.ACCEPTED, True)]
    assert take_in(other, long_file)
    assert ledger.plans("j")[:segments] == before
    check_plan(fleet, ledger, long_file)


def test_a_process_that_was_only_slow_changes_nothing_after_another_took_over(
    fleet: Services, redis_url: str, tmp_path: Path, ledger: LedgerByHand, long_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    other = make_fleet(redis_url, tmp_path)

    def overtake() -> None:
        monkeypatch.undo()
        ledger.due(1e12, 1e12 + 30)
        assert take_in(other, long_file)

    after_segments(monkeypatch, 3, overtake)
    assert not take_in(fleet, long_file)
    check_plan(fleet, ledger, long_file)


def test_a_file_that_is_shorter_when_it_is_decoded_again_fails_its_job(
    fleet: Services, ledger: LedgerByHand, long_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "shrinks.mp3"
    file.write_bytes(long_file.read_bytes())
    with monkeypatch.context() as once, pytest.raises(Killed):
        after_segments(once, 4, die)
        take_in(fleet, file)
    os.truncate(file, file.stat().st_size // 3)
    with pytest.raises(CorruptAudio, match="shorter than when the job was planned"):
        take_in(fleet, file)
    assert ledger.job("j").state is JobState.FAILED


def test_a_file_that_vanishes_while_it_is_decoded_is_decoded_to_its_end(
    fleet: Services, ledger: LedgerByHand, long_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "vanishes.mp3"
    file.write_bytes(long_file.read_bytes())
    after_segments(monkeypatch, 2, file.unlink)
    assert take_in(fleet, file)
    assert ledger.job("j").segments_total == len(plan_audio(str(long_file), "by hand", 30.0, fleet.settings).segments)


@pytest.mark.parametrize("how", ["cancelled", "failed"])
def test_the_decoding_of_a_job_that_ends_meanwhile_stops(
    fleet: Services, ledger: LedgerByHand, long_file: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def end() -> None:
        if how == "cancelled":
            fleet.actions.cancel("j", 5.0)
        else:
            fleet.actions.fail("j", "SegmentFailed", "broken", 5.0)

    after_segments(monkeypatch, 3, end)
    assert not take_in(fleet, long_file)
    assert ledger.job("j").state == how
    assert len(ledger.plans("j")) == 3
    assert not Spool(fleet.settings).folder("j").exists()


def test_a_limit_is_reached_in_the_middle(
    redis_url: str, ledger: LedgerByHand, long_file: Path, tmp_path: Path
) -> None:
    fleet = make_fleet(redis_url, tmp_path, max_audio_seconds=100.0)
    with pytest.raises(AudioTooLong):
        take_in(fleet, long_file)
    record = ledger.job("j")
    assert (record.state, record.error_type) == (JobState.FAILED, "AudioTooLong")
    assert ledger.lanes(10) == []


def test_what_is_wrong_with_the_file_is_known_when_it_is_decoded(
    fleet: Services, ledger: LedgerByHand, tmp_path: Path
) -> None:
    file = tmp_path / "torn.wav"
    ffmpeg("-stream_loop", "40", "-i", CLIP, "-t", "100", file)
    os.truncate(file, file.stat().st_size // 2)
    assert take_in(fleet, file)
    expected = plan_audio(str(file), "by hand", 30.0, fleet.settings)
    assert ledger.job("j").warnings == expected.warnings != ()
    assert len(ledger.plans("j")) == len(expected.segments) > 1


def test_the_language_is_found_by_the_first_segment_while_others_are_cut(
    fleet: Services, ledger: LedgerByHand, long_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = list[bool]()

    def find() -> None:
        waiting.append(ledger.segment_is_waiting("j", 1))
        ledger.set_language(ledger.running("j", 0), "es", 0.5, 4.0)
        waiting.append(ledger.segment_is_waiting("j", 1))

    after_segments(monkeypatch, 3, find)
    assert take_in(fleet, long_file, language=None)
    assert waiting == [False, True]
    last = len(ledger.plans("j")) - 1
    assert ledger.start(ledger.assigned("j", last), GPU, 120.0, 5.0).language == "es"


def test_a_decoder_runs_with_a_lower_priority_after_the_first_segment(
    fleet: Services, long_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In all of its threads."""
    niceness = list[set[int]]()

    def look() -> None:
        for child in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
            for pid in child.read_text().split():
                tasks = Path(f"/proc/{pid}/task")
                if "ffmpeg" in (tasks.parent / "cmdline").read_text():
                    niceness.append({os.getpriority(os.PRIO_PROCESS, int(task.name)) for task in tasks.iterdir()})

    after_segments(monkeypatch, 1, look)
    assert take_in(fleet, long_file)
    assert niceness in ([{10}], [])  # [] if it has ended: the file is short
