"""What gets lost is found: dead GPUs, silent slots, messages that never came."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis

from tests.support.gpu_status import gpu_status
from tests.support.ledger_by_hand import GPU, LedgerByHand, plan, request, result
from whisper_fleet.scheduler.services import Services, make_services
from whisper_fleet.scheduler.upkeep.janitor import Janitor
from whisper_fleet.scheduler.upkeep.recovery import Recovery
from whisper_fleet.shared import names
from whisper_fleet.shared.broker.queues import queue_length
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobState

pytestmark = pytest.mark.integration


@pytest.fixture
def ledger(redis: Redis) -> LedgerByHand:
    return LedgerByHand(redis)


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path) -> Services:
    app = Celery("scheduler", broker=redis_url, set_as_current=False)
    return make_services(app, Settings(redis_url=redis_url, var_dir=tmp_path))


def alive(fleet: Services, now: float) -> None:
    """The GPU's heartbeat."""
    fleet.fleet.beat(gpu_status(device="cpu", uuid="cpu", heartbeat=now))


def sent(redis: Redis, queue: str) -> int:
    return queue_length(redis, queue)


def test_segments_of_a_dead_gpu_wait_again_and_only_those_that_ran_pay(
    fleet: Services, ledger: LedgerByHand, redis: Redis
) -> None:
    ledger.planned("j", 2)
    ledger.running("j", 0, now=3.0)
    ledger.assigned("j", 1, now=3.0)
    assert Recovery(fleet).tick(4.0) == 2
    attempts = [ledger.start(ledger.assigned("j", i), GPU, 9.0, 5.0).attempt for i in (0, 1)]
    assert attempts == [2, 1]
    assert sent(redis, names.SCHEDULER_QUEUE) == 1


def test_a_living_gpu_keeps_what_it_shows_progress_of(fleet: Services, ledger: LedgerByHand) -> None:
    ledger.planned("j", 2)
    message = ledger.running("j", 0, now=3.0)
    ledger.assigned("j", 1, now=3.0)
    alive(fleet, 30.0)
    assert Recovery(fleet).tick(30.0) == 0
    ledger.progress(message, 30.0, 120.0, 31.0)
    alive(fleet, 40.0)
    assert Recovery(fleet).tick(40.0) == 1  # the one that was never started
    alive(fleet, 152.0)
    assert Recovery(fleet).tick(152.0) == 1


def test_a_gpu_that_falls_silent_is_gone_after_the_heartbeat_timeout_and_an_interval(
    fleet: Services, ledger: LedgerByHand
) -> None:
    ledger.running(ledger.planned("j"), now=3.0)
    alive(fleet, 3.0)
    assert [Recovery(fleet).tick(now) for now in (4.0, 12.0, 14.0)] == [0, 0, 1]


def test_while_redis_itself_was_away_nobody_could_be_heard(fleet: Services, ledger: LedgerByHand) -> None:
    message = ledger.running(ledger.planned("j"), now=3.0)
    alive(fleet, 3.0)
    assert Recovery(fleet).tick(4.0) == 0
    assert [Recovery(fleet).tick(now) for now in (154.0, 154.1)] == [0, 0]  # two hosts look at once
    alive(fleet, 155.0)
    ledger.progress(message, 30.0, 120.0, 155.0)
    assert Recovery(fleet).tick(159.0) == 0
    assert [Recovery(fleet).tick(now) for now in (161.0, 164.0, 169.0)] == [0, 0, 1]  # and now it is gone


def test_a_segment_that_kills_every_gpu_fails_its_job(fleet: Services, ledger: LedgerByHand, redis: Redis) -> None:
    ledger.planned("j")
    for attempt in range(3):
        ledger.running("j", now=3.0 + attempt)
        Recovery(fleet).tick(3.5 + attempt)
    assert ledger.job("j").state is JobState.FAILED
    assert sent(redis, names.ASSEMBLE_QUEUE) == 1


def test_a_lost_first_message_is_sent_again_but_not_while_intake_has_a_queue(
    fleet: Services, ledger: LedgerByHand, redis: Redis
) -> None:
    ledger.accept("lost", request(language="de"), 0.0)
    assert Recovery(fleet).tick(11.0) == 1
    assert sent(redis, names.TRANSCRIBE_QUEUE) == 1
    assert Recovery(fleet).tick(12.0) == 0
    assert Recovery(fleet).tick(60.0) == 0
    assert sent(redis, names.TRANSCRIBE_QUEUE) == 1


def test_a_request_whose_planner_died_is_sent_again_however_long_intakes_queue(
    fleet: Services, ledger: LedgerByHand, redis: Redis
) -> None:
    ledger.accept("j", request(), 0.0)
    ledger.begin("j", JobState.ACCEPTED, "dies", 31.0, 1.0)
    redis.lpush(names.TRANSCRIBE_QUEUE, "of another job")
    assert Recovery(fleet).tick(32.0) == 1
    assert Recovery(fleet).tick(63.0) == 0
    assert sent(redis, names.TRANSCRIBE_QUEUE) == 2


def test_many_requests_that_wait_for_intake_do_not_hide_the_one_whose_planner_died(
    fleet: Services, ledger: LedgerByHand, redis: Redis
) -> None:
    for waiting in range(250):
        ledger.accept(f"waits {waiting}", request(), 0.0)
    ledger.accept("j", request(), 0.0)
    ledger.begin("j", JobState.ACCEPTED, "dies", 31.0, 1.0)
    redis.lpush(names.TRANSCRIBE_QUEUE, "of another job")
    connections = redis.info("stats")["total_connections_received"]
    assert Recovery(fleet).tick(32.0) == 1
    assert redis.info("stats")["total_connections_received"] - connections < 20


def test_while_no_intake_is_up_calls_for_assembly_do_not_pile_up(
    fleet: Services, ledger: LedgerByHand, redis: Redis
) -> None:
    ledger.finish(ledger.running(ledger.planned("j")), result(), 4.0)
    assert [Recovery(fleet).tick(now) for now in (15.0, 46.0, 77.0)] == [1, 0, 0]
    assert sent(redis, names.ASSEMBLE_QUEUE) == 1


def test_a_record_that_cannot_be_read_does_not_hide_the_others(
    fleet: Services, ledger: LedgerByHand, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    for job in ("a", "odd", "z"):
        ledger.accept(job, request(), 0.0)
        ledger.begin(job, JobState.ACCEPTED, "dies", 20.0, 0.0)
    redis.hset(keys.job("odd"), "request", request().to_json().replace("float16", "of a newer version"))
    assert Recovery(fleet).tick(21.0) == 2
    assert sent(redis, names.TRANSCRIBE_QUEUE) == 2
    assert "odd" in caplog.text


def test_a_lost_assembly_is_sent_again_until_the_client_has_its_answer(
    fleet: Services, ledger: LedgerByHand, redis: Redis
) -> None:
    ledger.finish(ledger.running(ledger.planned("j")), result(), 4.0)
    assert Recovery(fleet).tick(5.0) == 0
    assert Recovery(fleet).tick(15.0) == 1
    ledger.settle("j", 16.0)
    assert Recovery(fleet).tick(100.0) == 0
    assert sent(redis, names.ASSEMBLE_QUEUE) == 1


def test_two_recoveries_at_once_recover_once(fleet: Services, ledger: LedgerByHand, redis: Redis) -> None:
    ledger.planned("j")
    ledger.running("j")
    found = ledger.overdue(GPU, 1e12)
    assert Recovery(fleet).tick(5.0) == 1
    assert found and Recovery(fleet).tick(5.0) == 0
    assert ledger.start(ledger.assigned("j"), GPU, 9.0, 6.0).attempt == 2


def test_the_janitor_forgets_expired_jobs_and_drops_audio_of_ended_ones(
    fleet: Services, ledger: LedgerByHand, redis: Redis
) -> None:
    ledger.planned("live")
    ledger.planned("gone")
    redis.delete(keys.job("gone"))
    spool = fleet.settings.spool
    for job in ("live", "gone"):
        (spool / job).mkdir(parents=True)
        (spool / job / "0.s16le").write_bytes(b"12")
    Janitor(fleet).tick(time.time())
    assert (spool / "gone").exists()  # too young to be sure
    Janitor(fleet).tick(time.time() + 3600)
    assert sorted(folder.name for folder in spool.iterdir()) == ["live"]
    assert ledger.jobs() == ["live"]


def test_the_janitor_removes_what_a_killed_process_had_fetched(fleet: Services) -> None:
    spool = fleet.settings.spool
    spool.mkdir(parents=True)
    for name, age in (("fetched-old", 100_000), ("fetched-now", 3600), ("somebody's", 100_000)):
        (spool / name).write_bytes(b"12")
        os.utime(spool / name, (time.time() - age,) * 2)
    Janitor(fleet).tick(time.time())
    assert sorted(path.name for path in spool.iterdir()) == ["fetched-now", "somebody's"]


def test_beyond_its_cap_the_spool_loses_its_oldest_audio(redis_url: str, tmp_path: Path) -> None:
    settings = Settings(redis_url=redis_url, var_dir=tmp_path, spool_limit_bytes=10)
    fleet = make_services(Celery(broker=redis_url, set_as_current=False), settings)
    for job in ("a", "b"):
        fleet.ledger.accept(job, request(), time.time())
        fleet.ledger.plan(job, plan(1), time.time())
        (settings.spool / job).mkdir(parents=True)
        (settings.spool / job / "0.s16le").write_bytes(b"12345678")
    Janitor(fleet).tick(time.time())
    assert len(list(settings.spool.iterdir())) == 1


def test_leases_are_looked_at_however_long_the_pause_between_two_looks(redis_url: str, ledger: LedgerByHand) -> None:
    settings = Settings(redis_url=redis_url, recovery_interval=60.0)
    fleet = make_services(Celery(broker=redis_url, set_as_current=False), settings)
    ledger.running(ledger.planned("j"), now=3.0)
    alive(fleet, 124.0)
    assert Recovery(fleet).tick(125.0) == 1


def test_a_gpu_whose_clock_is_some_seconds_behind_is_looked_after(fleet: Services, ledger: LedgerByHand) -> None:
    ledger.running(ledger.planned("j"), now=3.0)
    recovered = []
    for now in (120.0, 125.0, 130.0):
        alive(fleet, now - 7.0)
        recovered.append(Recovery(fleet).tick(now))
    assert recovered == [0, 1, 0]
