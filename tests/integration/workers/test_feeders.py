"""A real GPU node whose segments are transcribed in feeder processes, and what becomes of them when something ends."""

from __future__ import annotations

import signal
import subprocess
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.support.gpu_node import GpuNodeHarness, stop
from tests.support.process_tree import descendants, has_ended
from tests.support.waiting import wait_until
from whisper_fleet.shared.wire import JobState, TranscribeRequest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

LONG = 1200.0  # seconds of noise, many windows even for a tiny model
FEEDERS = 2


def start(nodes: GpuNodeHarness, slots: int, **settings: object) -> subprocess.Popen[bytes]:
    """Start a node, and wait until all of its feeders answer: before that it transcribes by itself."""
    answers = nodes.log.read_text().count("the feeder") if nodes.log.exists() else 0
    node = nodes.start(slots, FEEDERS=FEEDERS, **settings)
    wait_until(lambda: len(feeders(node)) == FEEDERS and nodes.log.read_text().count("the feeder") >= answers + FEEDERS)
    return node


def feeders(node: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the feeders that run; one that was killed a moment ago is a zombie without a command line."""
    return [child for child in descendants(node.pid) if is_feeder(child)]


def is_feeder(process: psutil.Process) -> bool:
    try:
        return "whisper_fleet.workers.feeder" in process.cmdline()
    except psutil.Error:
        return False


def has_results(nodes: GpuNodeHarness, job: str, count: int) -> bool:
    return len(nodes.ledger.results(job)) == count


def runs(nodes: GpuNodeHarness, job: str) -> bool:
    return nodes.record(job).seconds_done > 0


def test_feeders_give_the_transcripts_that_the_node_itself_gives(
    nodes: GpuNodeHarness, speech: dict[Path, str]
) -> None:
    file = str(next(iter(speech)))
    texts = []
    for count in (0, FEEDERS):
        node = start(nodes, 2) if count else nodes.start(2)
        request = TranscribeRequest(file_path=file, model_name=str(nodes.model), options={"temperature": 0.0})
        job = nodes.job(request, [0.0, 3.0, 7.1])
        nodes.assign(job, 0)
        wait_until(partial(has_results, nodes, job, 1))  # the second waits for the job's language
        nodes.assign(job, 1)
        wait_until(partial(has_results, nodes, job, 2))
        found = nodes.ledger.results(job)
        texts.append([(result.text, result.language, result.segments) for result in found])
        assert stop(node) == 0
    assert texts[0] == texts[1]


def test_a_feeder_that_is_killed_costs_its_own_segment_an_attempt_and_comes_back(nodes: GpuNodeHarness) -> None:
    node = start(nodes, 2)
    jobs = [nodes.spooled(1, LONG) for _ in range(2)]
    for job in jobs:
        nodes.assign(job, 0)
        wait_until(partial(runs, nodes, job))
    victim, other = feeders(node)
    victim.kill()
    wait_until(lambda: any(nodes.waiting(job) == [0] for job in jobs))
    assert sorted(next(iter(nodes.attempts(job))) for job in jobs) == [1, 2]
    wait_until(lambda: len(feeders(node)) == FEEDERS)
    assert other.is_running()
    (lost,) = [job for job in jobs if nodes.waiting(job)]
    nodes.assign(lost, 0)
    seen = nodes.record(lost).seconds_done
    wait_until(lambda: nodes.record(lost).seconds_done > seen)
    wait_until(lambda: "FeederDied" in nodes.log.read_text())


def test_a_revoke_reaches_a_segment_in_a_feeder(nodes: GpuNodeHarness) -> None:
    start(nodes, 1)
    job = nodes.spooled(1, LONG)
    nodes.assign(job, 0)
    wait_until(lambda: runs(nodes, job))
    nodes.app.control.revoke(job, terminate=True)
    wait_until(lambda: nodes.record(job).state == JobState.CANCELLED)
    wait_until(lambda: nodes.current().busy == 0)
    wait_until(lambda: nodes.current().rates is not None and nodes.current().rates.rows_live == 0)  # type: ignore[union-attr]


def test_an_engine_that_is_killed_costs_an_attempt_as_it_does_without_feeders(nodes: GpuNodeHarness) -> None:
    start(nodes, 1)
    job = nodes.spooled(1, LONG)
    nodes.assign(job, 0)
    wait_until(lambda: runs(nodes, job))
    nodes.engine().kill()
    wait_until(lambda: nodes.waiting(job) == [0])
    assert nodes.attempts(job) == {2}
    wait_until(lambda: "EngineDied" in nodes.log.read_text())


def test_feeders_end_with_a_node_that_is_killed(nodes: GpuNodeHarness) -> None:
    node = start(nodes, 1)
    job = nodes.spooled(1, LONG)
    nodes.assign(job, 0)
    wait_until(lambda: runs(nodes, job))
    children = feeders(node)
    node.kill()
    wait_until(lambda: all(has_ended(child) for child in children))
    nodes.start()
    assert nodes.waiting(job) == [0]
    assert nodes.attempts(job) == {2}


def test_a_shutdown_returns_what_its_grace_does_not_suffice_for(nodes: GpuNodeHarness) -> None:
    node = start(nodes, 2, DRAIN_TIMEOUT=0.2)
    job = nodes.spooled(2, LONG)
    nodes.assign(job, 0)
    nodes.assign(job, 1)
    wait_until(lambda: runs(nodes, job))
    children = feeders(node)
    node.send_signal(signal.SIGTERM)
    assert node.wait(60) == 0
    assert nodes.waiting(job) == [0, 1]
    assert nodes.attempts(job) == {1}
    assert all(has_ended(child) for child in children)
