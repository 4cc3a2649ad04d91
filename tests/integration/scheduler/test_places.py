"""One tenant's files never occupy all of intake: those beyond its share are deferred until they may be read."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import cast

import psutil
import pytest
from redis import Redis

from tests.attack.site import running_site
from tests.support.fleet_processes import FleetProcesses, running_fleet
from tests.support.ledger_by_hand import LedgerByHand
from tests.support.long_files import CLIP, make_fleet, make_long_file, take_in
from tests.support.process_tree import descendants
from tests.support.waiting import wait_until
from whisper_fleet.scheduler.intake.decoding.parking import read_deferred, resume_parked, take_up
from whisper_fleet.scheduler.intake.decoding.permits import Permit
from whisper_fleet.scheduler.intake.node.reports import report_intake
from whisper_fleet.scheduler.intake.places.places import LEASE, Places, forget_places
from whisper_fleet.scheduler.services import Services
from whisper_fleet.scheduler.upkeep.recovery import Recovery
from whisper_fleet.shared import names
from whisper_fleet.shared.broker.queues import queue_length
from whisper_fleet.shared.connect import connect_fail_fast
from whisper_fleet.shared.errors import FileMissing
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.wire import JobState

pytestmark = pytest.mark.integration


@pytest.fixture
def fleet(redis_url: str, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """A process of an intake with four, so that it reads three files at once, two of them of one tenant."""
    monkeypatch.setattr("whisper_fleet.scheduler.services.connect", connect_fail_fast)
    services = make_fleet(redis_url, tmp_path, host="ours")
    report_intake(redis, "intake@ours", 4, 0, services.ledger.now())
    return services


@pytest.fixture
def ledger(redis: Redis) -> LedgerByHand:
    return LedgerByHand(redis)


def busy(redis_url: str, tmp_path: Path, job: str, tenant: str = "a", host: str = "ours") -> Places:
    """Let another process of intake read a file of a tenant, without an end."""
    places = Places(make_fleet(redis_url, tmp_path, host=host))
    assert places.take(job, tenant)
    return places


def test_a_file_beyond_the_share_of_its_tenant_is_read_when_another_one_ends(
    fleet: Services, ledger: LedgerByHand, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    others = [busy(redis_url, tmp_path, f"slow{number}") for number in range(2)]
    places = Places(fleet)
    assert not take_in(fleet, CLIP, "a0", tenant="a")
    assert take_in(fleet, CLIP, "b0", tenant="b")
    assert ledger.job("a0").state is JobState.ACCEPTED and ledger.job("b0").state is JobState.RUNNING
    assert read_deferred(fleet, places) == 0
    others[0].give_back()
    assert read_deferred(fleet, places) == 1 and queue_length(redis, names.RESUMED_QUEUE) == 1
    assert read_deferred(fleet, places) == 0
    assert places.look().files == {"a": 2}, "the place is kept until the message comes"
    assert take_in(fleet, CLIP, "a0", tenant="a")
    assert ledger.job("a0").state is JobState.RUNNING
    assert places.look().files == {"a": 1}


def test_nothing_that_is_deferred_is_due_and_recovery_sends_what_was_chosen_and_lost(
    fleet: Services, ledger: LedgerByHand, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    others = [busy(redis_url, tmp_path, f"slow{number}") for number in range(2)]
    take_in(fleet, CLIP, "a0", tenant="a")
    assert Recovery(fleet).tick(fleet.ledger.now() + 1e6) == 0 and redis.zscore(keys.DUE, "a0") is None
    others[0].give_back()
    read_deferred(fleet, Places(fleet))
    redis.delete(names.RESUMED_QUEUE)
    assert Recovery(fleet).tick(fleet.ledger.now() + 60.0) == 1
    assert take_in(fleet, CLIP, "a0", tenant="a")


def test_urgent_files_come_first_then_older_ones_and_cancelled_ones_never(
    fleet: Services, ledger: LedgerByHand, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    others = [busy(redis_url, tmp_path, f"slow{number}") for number in range(2)]
    for number, priority in enumerate((5, 5, 5, 0)):
        assert not take_in(fleet, CLIP, f"a{number}", tenant="a", priority=priority)
    fleet.actions.cancel("a0", fleet.ledger.now())
    for other in others:
        other.give_back()
    places = Places(fleet)
    assert [places.next_deferred() for _ in range(3)] == ["a3", "a1", None]
    forget_places(redis, "job")
    assert places.next_deferred() == "a2"
    assert redis.smembers(keys.DEFERRED_TENANTS) == set()
    assert ledger.job("a0").state is JobState.CANCELLED


def test_a_job_that_expires_while_it_is_deferred_is_cancelled(
    fleet: Services, ledger: LedgerByHand, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    others = [busy(redis_url, tmp_path, f"slow{number}") for number in range(2)]
    take_in(fleet, CLIP, "a0", tenant="a")
    redis.hset(keys.job("a0"), "expires", 10.0)
    ledger.begin("a0", JobState.ACCEPTED, fleet.name, fleet.ledger.now() + 30, fleet.ledger.now())
    assert Places(fleet).defer("a0", "a", 5)
    assert Recovery(fleet).tick(fleet.ledger.now()) == 1
    assert ledger.job("a0").state is JobState.CANCELLED
    for other in others:
        other.give_back()
    assert Places(fleet).next_deferred() is None


def test_the_place_of_a_process_that_died_runs_out_or_is_forgotten_by_the_next_node(
    fleet: Services, redis: Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(redis_url, tmp_path, "dead").renew()
    busy(redis_url, tmp_path, "of another host", host="theirs")
    assert not take_in(fleet, CLIP, "a0", tenant="a")
    places = Places(fleet)
    places.renew()  # it has none, and gets none
    assert places.look().files == {"a": 2}
    forget_places(redis, "ours")
    assert places.look().files == {"a": 1}
    assert take_up(fleet, places) == 1
    ends = dict(cast("list[tuple[bytes, float]]", redis.zrange(keys.READING, 0, -1, withscores=True)))
    redis.zadd(keys.READING, {holder: end - LEASE - 1 for holder, end in ends.items()})
    assert places.look().files == {}
    assert redis.exists(keys.READING, keys.READING_TENANTS) == 0


def test_a_file_that_cannot_be_read_gives_its_place_to_the_next(
    fleet: Services, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    busy(redis_url, tmp_path, "slow")
    other = busy(redis_url, tmp_path, "slow2")
    take_in(fleet, CLIP, "a0", tenant="a")
    other.give_back()
    with pytest.raises(FileMissing):
        take_in(fleet, tmp_path / "nothing.wav", "bad", tenant="a")
    assert queue_length(redis, names.RESUMED_QUEUE) == 1


def test_a_parked_file_of_a_tenant_with_its_share_stays_parked_and_others_are_decoded(
    fleet: Services, ledger: LedgerByHand, redis_url: str, tmp_path: Path
) -> None:
    long_file = make_long_file(tmp_path)
    with Permit(fleet.settings) as one, Permit(fleet.settings) as two:
        assert one.acquire() and two.acquire()
        assert take_in(fleet, long_file, "a0", tenant="a") and take_in(fleet, long_file, "b0", tenant="b")
    others = [busy(redis_url, tmp_path, f"slow{number}") for number in range(2)]
    places = Places(fleet)
    assert resume_parked(fleet, places) == 1
    assert take_in(fleet, long_file, "a0", tenant="a"), "a message that comes too early parks it again"
    assert ledger.job("a0").is_open
    assert take_in(fleet, long_file, "b0", tenant="b")
    assert not ledger.job("b0").is_open
    others[0].give_back()
    assert resume_parked(fleet, places) == 1
    assert take_in(fleet, long_file, "a0", tenant="a")
    assert not ledger.job("a0").is_open


def is_planned(ledger: LedgerByHand, job: str) -> bool:
    return ledger.job(job).state is JobState.RUNNING


def test_a_flood_of_slow_files_of_one_tenant_delays_no_other_tenant_and_survives_a_kill(
    redis_url: str, redis: Redis, ledger: LedgerByHand, tmp_path: Path
) -> None:
    """Real processes: four of intake, so one tenant alone reads two files, and three are read at once."""
    with contextlib.ExitStack() as until_the_end:
        site = until_the_end.enter_context(running_site(tmp_path))
        fleet = until_the_end.enter_context(
            running_fleet(["intake"], redis_url, tmp_path, tmp_path, url_prefixes=[site.url])
        )
        flood = [fleet.submit(file_path=f"{site.url}slow/{number}.wav", tenant="a").id for number in range(60)]
        _check_that_another_tenant_is_served(fleet, ledger)
        wait_until(lambda: _deferred(redis) == 58)
        wait_until(lambda: site.seen.get("slow") == 2)
        main = fleet.processes["intake"].pid
        for process in (psutil.Process(main), *descendants(main)):  # the main process first: it replaces the others
            process.kill()
        fleet.processes["intake"].wait()
        before = _deferred(redis)
        fleet.start("intake")
        _check_that_another_tenant_is_served(fleet, ledger)
        assert before == 58
        wait_until(lambda: site.seen["slow"] == 4)  # the next ones, in the places of processes that were killed
        wait_until(lambda: _deferred(redis) == 56)
        known = {job for job in flood if ledger.job(job).state is JobState.ACCEPTED}
        assert known == set(flood)
        for job in flood:
            fleet.app.control.revoke(job)
        wait_until(lambda: all(ledger.job(job).state is JobState.CANCELLED for job in flood))
        assert _deferred(redis) == 0
        site.done.set()


def _check_that_another_tenant_is_served(fleet: FleetProcesses, ledger: LedgerByHand) -> None:
    clip = fleet.submit(file_path=CLIP, tenant="b").id
    wait_until(lambda: fleet.redis.exists(keys.job(clip)) and is_planned(ledger, clip))


def _deferred(redis: Redis) -> int:
    return int(redis.zcard(keys.deferred("a")))
