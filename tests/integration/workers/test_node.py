"""A real GPU node on the CPU: its engine, its slots, and segments when something ends early."""

from __future__ import annotations

import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.gpu_node import GPU, NODE, GpuNodeHarness, stop
from tests.support.process_tree import has_ended
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from whisper_fleet.shared.wire import JobState, TranscribeRequest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

LONG = 1200.0  # seconds of noise, many windows even for a tiny model


def runs(nodes: GpuNodeHarness, job: str) -> bool:
    """Its first window is done."""
    return nodes.record(job).seconds_done > 0


def assert_announced_once(nodes: GpuNodeHarness) -> None:
    """The end of the job, which is announced after the ledger knows of it."""
    wait_until(lambda: nodes.assembles() > 0)
    assert nodes.assembles() == 1


def test_fifty_resizes_under_load_lose_and_double_no_segment(nodes: GpuNodeHarness) -> None:
    nodes.start(slots=4)
    job = nodes.spooled(400, 0.5, options={"sample_len": 2})
    for segment in range(400):
        nodes.assign(job, segment)
    control = nodes.app.control
    for step in range(25):
        n = step % 3 + 1
        for resize in (control.pool_grow, control.pool_shrink):
            (answer,) = resize(n, destination=[NODE], reply=True, timeout=10) or [{}]
            assert "ok" in answer[NODE], answer
    wait_until(lambda: nodes.record(job).state == JobState.ASSEMBLING, 120)
    assert len(nodes.ledger.results(job)) == 400
    assert nodes.attempts(job) == {1}
    wait_until(lambda: nodes.log.read_text().count(" is done") == 400)
    assert "dropped" not in nodes.log.read_text()
    assert_announced_once(nodes)
    wait_until(lambda: nodes.redis.hlen("unacked") == 0)  # acknowledged just after the line in the log


@pytest.mark.parametrize(
    ("wrong", "error_type", "message"),
    [
        ({"file_path": "/does/not/exist.wav"}, "FileMissing", "testhost"),
        ({"model_name": "large-v3"}, "ModelUnavailable", "testhost"),
        ({"options": {"temperature": 0.0, "length_penalty": 7.0}}, "EngineRequestInvalid", "length_penalty"),
    ],
)
def test_a_request_that_cannot_be_carried_out_fails_its_job_at_once(
    nodes: GpuNodeHarness, speech: dict[Path, str], wrong: dict[str, Any], error_type: str, message: str
) -> None:
    nodes.start()
    fields: dict[str, Any] = {
        "file_path": str(next(iter(speech))),
        "model_name": str(nodes.model),
        "language": "en",
        **wrong,
    }
    job = nodes.job(TranscribeRequest(**fields), [0.0, 7.1])
    nodes.assign(job, 0)
    wait_until(lambda: nodes.record(job).state == JobState.FAILED)
    assert nodes.record(job).error_type == error_type
    assert message in (nodes.record(job).error or "")  # which of the fleet's machines lacks it, too
    assert_announced_once(nodes)


def test_progress_moves_with_the_windows_and_reaches_the_client(nodes: GpuNodeHarness) -> None:
    nodes.start()
    job = nodes.spooled(1, LONG)
    nodes.assign(job, 0)
    client: Any = nodes.app.AsyncResult(job)  # the stubs do not know the state PROGRESS
    seen: list[float] = []

    def shown() -> bool:
        if client.state == "PROGRESS" and (done := client.info["seconds_done"]) not in seen:
            seen.append(done)
        return len(seen) >= 4

    wait_until(shown)
    assert seen == sorted(seen)
    assert client.info["seconds_total"] == LONG
    assert client.info["stage"] == "transcribing"


def test_a_message_of_an_older_attempt_is_dropped(nodes: GpuNodeHarness) -> None:
    nodes.start()
    job = nodes.spooled(1, 1.0)
    nodes.send(nodes.assign(job, 0))
    wait_until(lambda: nodes.log.read_text().count(" is done") == 1 and " is dropped: " in nodes.log.read_text())
    assert nodes.record(job).state == JobState.ASSEMBLING
    assert_announced_once(nodes)
    wait_until(lambda: "dropped" in nodes.log.read_text())


def test_a_revoke_of_the_job_stops_its_running_segments(nodes: GpuNodeHarness) -> None:
    nodes.start(slots=2)
    job = nodes.spooled(2, LONG)
    nodes.assign(job, 0)
    nodes.assign(job, 1)
    wait_until(lambda: runs(nodes, job))
    nodes.app.control.revoke(job, terminate=True)
    wait_until(lambda: nodes.record(job).state == JobState.CANCELLED)
    wait_until(lambda: nodes.current().busy == 0)
    wait_until(lambda: nodes.ledger.loads([GPU]) == [0], 2)  # and not only when the lease is over
    assert_announced_once(nodes)
    assert nodes.ledger.results(job) == []


def test_a_revoke_of_a_running_segment_cancels_its_job(nodes: GpuNodeHarness) -> None:
    nodes.start()
    job = nodes.spooled(1, LONG)
    message = nodes.assign(job, 0)
    wait_until(lambda: runs(nodes, job))
    nodes.app.control.revoke(message.token, terminate=True)
    wait_until(lambda: nodes.record(job).state == JobState.CANCELLED)
    wait_until(lambda: nodes.current().busy == 0)
    assert_announced_once(nodes)


def test_a_revoke_of_a_segment_that_has_not_started_cancels_its_job(nodes: GpuNodeHarness) -> None:
    nodes.start()
    busy, waiting = nodes.spooled(1, LONG), nodes.spooled(1, 1.0)
    nodes.assign(busy, 0)
    wait_until(lambda: runs(nodes, busy))
    nodes.app.control.revoke(nodes.assign(waiting, 0).token, reply=True, timeout=5)
    nodes.app.control.revoke(busy)
    wait_until(lambda: nodes.record(waiting).state == JobState.CANCELLED)


def test_a_segment_over_its_time_limit_runs_again_as_another_attempt(nodes: GpuNodeHarness) -> None:
    nodes.start()
    job = nodes.spooled(1, LONG)
    nodes.assign(job, 0, soft_time_limit=0.5)
    wait_until(lambda: nodes.waiting(job) == [0])
    assert nodes.attempts(job) == {2}
    wait_until(lambda: "OverTimeLimit" in nodes.log.read_text())


def test_an_engine_that_is_killed_comes_back_and_its_segments_run_again(nodes: GpuNodeHarness) -> None:
    nodes.start(slots=2)
    job = nodes.spooled(2, LONG)
    nodes.assign(job, 0)
    nodes.assign(job, 1)
    wait_until(lambda: runs(nodes, job))
    engine = nodes.engine()
    engine.kill()
    wait_until(lambda: nodes.waiting(job) == [0, 1])
    assert nodes.attempts(job) == {2}
    wait_until(lambda: nodes.is_ready() and nodes.engine_pid() != engine.pid)
    nodes.assign(job, 0)
    nodes.assign(job, 1)
    wait_until(lambda: runs(nodes, job))


def test_a_segment_that_kills_every_engine_fails_its_job_and_no_other(nodes: GpuNodeHarness) -> None:
    nodes.start(slots=3)
    poison, neighbours = nodes.spooled(1, LONG), [nodes.spooled(1, 120.0) for _ in range(2)]
    jobs = [poison, *neighbours]
    for attempt in (1, 2):
        for job in jobs:  # the poison first: it takes longest until it runs
            nodes.assign(job, 0)
            wait_until(partial(runs, nodes, job))
        kill_engine(nodes)
        wait_until(lambda: all(nodes.waiting(job) == [0] for job in jobs))
        assert all(nodes.attempts(job) == {attempt + 1} for job in jobs)
    nodes.assign(poison, 0)
    wait_until(lambda: runs(nodes, poison))
    for job in neighbours:
        nodes.assign(job, 0)
    kill_engine(nodes)
    wait_until(lambda: nodes.record(poison).state == JobState.FAILED)
    assert "failed 3 times, the last time with: EngineDied" in str(nodes.record(poison).error)
    wait_until(lambda: all(ends(nodes, job) for job in neighbours))
    assert all(nodes.attempts(job) == {3} for job in neighbours)


def ends(nodes: GpuNodeHarness, job: str) -> bool:
    """Handed out again if it was handed over, because there was no engine when its turn came."""
    if nodes.waiting(job):
        nodes.assign(job, 0)
    return nodes.record(job).state == JobState.ASSEMBLING


def kill_engine(nodes: GpuNodeHarness) -> None:
    """And wait for the next one."""
    killed = nodes.engine()
    killed.kill()
    wait_until(lambda: (status := nodes.status()) and status.ready and status.engine_pid != killed.pid)


def test_a_segment_that_comes_while_the_engine_restarts_waits_for_it(nodes: GpuNodeHarness) -> None:
    nodes.start()
    nodes.engine().kill()
    wait_until(lambda: not nodes.is_ready())
    job = nodes.spooled(1, 1.0)
    nodes.assign(job, 0)
    wait_until(lambda: nodes.record(job).state == JobState.ASSEMBLING)
    assert nodes.attempts(job) == {1}


def test_a_node_that_is_killed_takes_its_engine_along_and_its_successor_goes_on(nodes: GpuNodeHarness) -> None:
    node = nodes.start()
    job = nodes.spooled(1, LONG)
    nodes.assign(job, 0)
    wait_until(lambda: runs(nodes, job))
    engine = nodes.engine()
    node.kill()
    wait_until(lambda: has_ended(engine))
    nodes.start()
    assert nodes.waiting(job) == [0]
    assert nodes.attempts(job) == {2}
    nodes.assign(job, 0)
    wait_until(lambda: runs(nodes, job))


def test_a_warm_shutdown_finishes_what_runs_and_leaves_the_registry(nodes: GpuNodeHarness) -> None:
    node = nodes.start(slots=1, DRAIN_TIMEOUT=60)
    job = nodes.spooled(2, 100.0)
    nodes.assign(job, 0)
    nodes.assign(job, 1)
    wait_until(lambda: runs(nodes, job))
    engine = nodes.engine()
    assert stop(node, 90) == 0
    assert len(nodes.ledger.results(job)) == 1
    assert nodes.attempts(job) == {1}
    assert nodes.status() is None
    assert has_ended(engine)


def test_a_shutdown_hands_back_what_its_grace_does_not_suffice_for(nodes: GpuNodeHarness) -> None:
    node = nodes.start(slots=2, DRAIN_TIMEOUT=0.2)
    job = nodes.spooled(2, LONG)
    nodes.assign(job, 0)
    nodes.assign(job, 1)
    wait_until(lambda: runs(nodes, job))
    assert stop(node) == 0
    assert nodes.waiting(job) == [0, 1]
    assert nodes.attempts(job) == {1}
    assert not nodes.ledger.overdue(GPU, float("inf"))


def test_a_cold_shutdown_hands_back_what_runs(nodes: GpuNodeHarness) -> None:
    node = nodes.start()
    job = nodes.spooled(1, LONG)
    nodes.assign(job, 0)
    wait_until(lambda: runs(nodes, job))
    node.send_signal(signal.SIGQUIT)
    node.wait(30)
    assert nodes.waiting(job) == [0]
    assert nodes.attempts(job) == {1}


def test_a_restart_of_redis_costs_a_running_segment_nothing(nodes: GpuNodeHarness, redis_server: RedisServer) -> None:
    nodes.start()
    job = nodes.spooled(1, 400.0)
    nodes.assign(job, 0)
    wait_until(lambda: runs(nodes, job))
    redis_server.kill()
    time.sleep(3)
    redis_server.start()
    wait_until(lambda: nodes.record(job).state == JobState.ASSEMBLING, 90)
    assert nodes.attempts(job) == {1}
    assert_announced_once(nodes)
