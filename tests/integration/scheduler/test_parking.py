"""Files that wait for a decoder: of each, the first segment waits for a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from tests.support.ledger_by_hand import LedgerByHand, result
from tests.support.long_files import CLIP, check_plan, make_fleet, make_long_file, take_in, transcribe_messages
from tests.support.plan_audio import plan_audio
from whisper_fleet.scheduler.intake.decoding import pressure
from whisper_fleet.scheduler.intake.decoding.parking import resume_parked
from whisper_fleet.scheduler.intake.decoding.permits import Permit, free_permits
from whisper_fleet.scheduler.intake.places.places import Places
from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared import names
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.connect import connect_fail_fast
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.settings import Settings

pytestmark = pytest.mark.integration


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


def test_without_a_free_decoder_only_the_first_segment_waits_until_there_is_one(
    fleet: Services, redis: Redis, ledger: LedgerByHand, long_file: Path
) -> None:
    with Permit(fleet.settings) as one, Permit(fleet.settings) as two:
        assert one.acquire() and two.acquire()
        assert take_in(fleet, long_file)
        assert take_in(fleet, CLIP, "short")
        assert [segment.index for segment in ledger.plans("j")] == [0]
        assert not ledger.job("short").is_open
        assert resume_parked(fleet, Places(fleet)) == 0
        assert take_in(fleet, long_file), "a message that comes too early parks it again"
        assert [segment.index for segment in ledger.plans("j")] == [0]
        ledger.finish(ledger.running("j", 0), result(), 4.0)
    assert resume_parked(fleet, Places(fleet)) == 1
    assert transcribe_messages(redis) == 1
    assert resume_parked(fleet, Places(fleet)) == 0
    assert take_in(fleet, long_file)
    check_plan(fleet, ledger, long_file)


def test_behind_enough_others_a_file_is_decoded_in_batches_when_it_is_its_turn(
    fleet: Services, redis: Redis, ledger: LedgerByHand, long_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pressure, "_ENOUGH", 4)
    monkeypatch.setattr(pressure, "_BATCH", 3)
    Spool(fleet.settings).write("others", 0, bytes(5 * 960_000))
    assert take_in(fleet, long_file)
    planned = [len(ledger.plans("j"))]
    while ledger.job("j").is_open:
        assert free_permits(fleet.settings) == 2
        assert resume_parked(fleet, Places(fleet)) == 0
        for segment in range(ledger.job("j").segments_done, planned[-1]):
            ledger.finish(ledger.running("j", segment), result(), 4.0)
        assert resume_parked(fleet, Places(fleet)) == 1
        assert take_in(fleet, long_file)
        planned.append(len(ledger.plans("j")))
    assert planned[:3] == [1, 4, 7]
    assert transcribe_messages(redis) == len(planned) - 1
    check_plan(fleet, ledger, long_file)


def test_one_file_is_decoded_ahead_only_so_far(
    fleet: Services, ledger: LedgerByHand, long_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pressure, "_ENOUGH_OF_A_JOB", 5)
    assert take_in(fleet, long_file)
    assert len(ledger.plans("j")) == 5 and ledger.job("j").is_open


def segment_bytes(file: Path, directory: Path) -> list[int]:
    segments = plan_audio(str(file), "by hand", 30.0, Settings(var_dir=directory / "other")).segments
    return [round((segment.end - segment.start) * 32_000) for segment in segments]


def test_a_full_spool_holds_back_files_that_have_enough_segments(
    redis_url: str, ledger: LedgerByHand, long_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pressure, "_BATCH", 4)
    sizes = segment_bytes(long_file, tmp_path)
    limit = sizes[0] + sizes[1] + sizes[2] // 2
    fleet = make_fleet(redis_url, tmp_path, spool_limit_bytes=limit)
    assert take_in(fleet, long_file)
    assert ledger.job("j").is_open
    assert [segment.spool is not None for segment in ledger.plans("j")] == [True, True, False, False]
    assert Spool(fleet.settings).used() <= limit


def test_the_first_segments_of_files_that_wait_take_at_most_half_of_the_spool(
    redis_url: str, ledger: LedgerByHand, long_file: Path, tmp_path: Path
) -> None:
    limit = 5 * segment_bytes(long_file, tmp_path)[0]
    fleet = make_fleet(redis_url, tmp_path, spool_limit_bytes=limit, decoders=1)
    with Permit(fleet.settings) as held:
        assert held.acquire()
        for number in range(4):
            assert take_in(fleet, long_file, f"j{number}")
    spooled = [ledger.plans(f"j{number}")[0].spool is not None for number in range(4)]
    assert spooled == [True, True, False, False]


def test_a_file_of_a_source_that_may_expire_is_decoded_to_its_end_at_once(
    fleet: Services, ledger: LedgerByHand, long_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whisper_fleet.shared.audio.sources.local.LocalSource.may_expire", True)
    monkeypatch.setattr(pressure, "_ENOUGH_OF_A_JOB", 1)
    with Permit(fleet.settings) as one, Permit(fleet.settings) as two:
        assert one.acquire() and two.acquire()
        assert take_in(fleet, long_file)
    assert not ledger.job("j").is_open


def test_a_request_that_expires_is_not_sent_with_its_time_once_it_has_started(
    fleet: Services, redis: Redis, ledger: LedgerByHand, long_file: Path
) -> None:
    with Permit(fleet.settings) as one, Permit(fleet.settings) as two:
        assert one.acquire() and two.acquire()
        take_in(fleet, long_file)
    redis.hset(keys.job("j"), "expires", 10.0)
    ledger.finish(ledger.running("j", 0), result(), 4.0)
    assert resume_parked(fleet, Places(fleet)) == 1
    [message] = redis.lrange(names.RESUMED_QUEUE, 0, -1)
    assert b'"expires": null' in message
