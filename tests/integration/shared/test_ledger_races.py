"""Many clients of the ledger at once: every segment has one owner and every end one finder."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from redis import Redis

from tests.support.ledger_by_hand import LedgerByHand, result
from whisper_fleet.shared.errors import JobCancelled, StaleAttempt
from whisper_fleet.shared.wire import Assignment, JobState, SegmentMessage

pytestmark = pytest.mark.integration

CLIENTS = 8


def at_once(redis_url: str, act: Callable[[LedgerByHand, int], Any]) -> list[Any]:
    """What `act` gives for each of the clients, all starting at the same moment."""
    ready = Barrier(CLIENTS)

    def one(client: int) -> Any:
        with Redis.from_url(redis_url) as redis:
            ledger = LedgerByHand(redis)
            redis.ping()
            ready.wait(30)
            return act(ledger, client)

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(one, range(CLIENTS)))


def test_of_several_dispatchers_one_gets_each_segment_and_no_gpu_is_overfilled(redis: Redis, redis_url: str) -> None:
    LedgerByHand(redis).planned("j", 100)

    def dispatch(ledger: LedgerByHand, client: int) -> list[int]:
        asked = [Assignment(job="j", segment=i, gpu=f"h.{i % 4}", token=f"{client}-{i}", slots=20) for i in range(100)]
        random.Random(client).shuffle(asked)
        given = [ledger.assign([one], 60.0, 2.0 + client)[0] for one in asked]
        return [one.segment for one, mine in zip(asked, given, strict=True) if mine]

    taken = Counter(segment for mine in at_once(redis_url, dispatch) for segment in mine)
    assert set(taken.values()) == {1}
    assert len(taken) == 80
    assert LedgerByHand(redis).loads([f"h.{i}" for i in range(4)]) == [20] * 4


def test_of_several_that_finish_the_last_segments_exactly_one_learns_it(redis: Redis, redis_url: str) -> None:
    for round_ in range(10):
        own = LedgerByHand(redis)
        job = own.planned(f"j{round_}", CLIENTS)
        messages = [own.running(job, i) for i in range(CLIENTS)]

        def finish(ledger: LedgerByHand, client: int, messages: list[SegmentMessage] = messages) -> bool:
            return ledger.finish(messages[client], result(), 5.0).last

        assert sum(at_once(redis_url, finish)) == 1
        assert own.job(job).state is JobState.ASSEMBLING


def test_a_job_that_is_cancelled_failed_and_finished_at_once_ends_once(redis: Redis, redis_url: str) -> None:
    for round_ in range(10):
        own = LedgerByHand(redis)
        job = own.planned(f"j{round_}", 1)
        message = own.running(job)

        def end(ledger: LedgerByHand, client: int, job: str = job, message: SegmentMessage = message) -> bool:
            try:
                if client % 4 == 0:
                    return ledger.cancel(job, 5.0 + client)
                if client % 4 == 1:
                    return ledger.fail(job, "ValueError", "boom", 5.0 + client)
                if client % 4 == 2:
                    return ledger.finish(message, result(), 5.0).last and client == 2
                ledger.return_to_queue(message, "boom", 5.0)
            except (JobCancelled, StaleAttempt):
                pass
            return False

        ended = sum(at_once(redis_url, end))
        state = own.job(job).state
        assert state in (JobState.CANCELLED, JobState.FAILED)
        assert ended in (1, 2)  # finished as the last segment, and then cancelled before it was assembled
        assert own.loads(["host.0"]) == [0]
        assert own.lanes(10) == []


def test_recovery_and_a_slot_that_reports_late_never_both_have_a_segment(redis: Redis, redis_url: str) -> None:
    own = LedgerByHand(redis)
    own.planned("j", 40)
    messages = [own.running("j", i) for i in range(40)]

    def act(ledger: LedgerByHand, client: int) -> list[int]:
        done = []
        for message in random.Random(client).sample(messages, len(messages)):
            try:
                if client % 2:
                    ledger.return_to_queue(message, "its lease ran out", 200.0)
                else:
                    ledger.finish(message, result(), 200.0)
                    done.append(message.segment)
            except StaleAttempt:
                continue
        return done

    finished = {segment for mine in at_once(redis_url, act) for segment in mine}
    assert len(own.results("j")) == len(finished) == own.job("j").segments_done
    waiting = {segment for segment in range(40) if own.segment_is_waiting("j", segment)}
    assert waiting == set(range(40)) - finished
    assert own.loads(["host.0"]) == [0]


def test_a_job_whose_text_is_complete_has_one_end(redis: Redis) -> None:
    """Its client may have the transcript already, so that it must not become a cancelled job afterwards."""
    ledger = LedgerByHand(redis)
    ledger.finish(ledger.running(ledger.planned("j")), result(), 4.0)
    assert not ledger.cancel("j", 5.0)
    assert ledger.settle("j", 6.0) is JobState.DONE
    assert not ledger.cancel("j", 7.0)
    assert ledger.job("j").state is JobState.DONE
