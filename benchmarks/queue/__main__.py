"""Measure how fast segments that do nothing pass ledger, dispatcher and Celery, against bare Celery tasks.

    python -m benchmarks.queue [--segments 2000] [--rounds 3] [--slots 64]

Both in turn, on one Redis, one node with a SlotPool and one scheduler, with the fleet's own settings.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from celery import Celery
from redis import Redis

from benchmarks.support.processes import HOST, node_and_scheduler, nodes, redis_server
from whisper_fleet.shared import names
from whisper_fleet.shared.connect import connect
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.ledger.wakeup import wake_dispatcher
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import GpuStatus, JobPlan, SegmentPlan, TranscribeRequest

_GPU_NAME = names.GpuName(HOST, 0)
_GPU, _NODE = str(_GPU_NAME), str(_GPU_NAME.node())


def main() -> None:
    """Print the rates of each round and what they come to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slots", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        url = stack.enter_context(redis_server(Path(directory)))
        commands = node_and_scheduler("benchmarks.support.noop_app", options.slots)
        stack.enter_context(nodes(url, commands, Path(directory)))
        redis = connect(url)
        app = Celery(broker=url, backend=url, set_as_current=False)
        _await_workers(app)
        stack.enter_context(_heartbeat(redis, options.slots))
        _rounds(app, redis, options.segments, options.rounds)


def _rounds(app: Celery, redis: Redis, segments: int, rounds: int) -> None:
    bare_rates, own_rates, costs = [], [], []
    for number in range(rounds):
        bare = segments / _bare(app, redis, segments)
        before = _commands(redis)
        own = segments / _through_the_fleet(app, redis, segments)
        cost = (_commands(redis) - before) / segments
        print(f"round {number + 1}: bare {bare:.0f}/s, segments {own:.0f}/s, {cost:.1f} Redis commands each")
        bare_rates.append(bare)
        own_rates.append(own)
        costs.append(cost)
    bare, own = statistics.median(bare_rates), statistics.median(own_rates)
    print(f"median: bare {bare:.0f}/s, segments {own:.0f}/s = {own / bare:.2f} times bare")
    print(f"{statistics.median(costs):.1f} Redis commands a segment, of scripts and of polling included")


def _bare(app: Celery, redis: Redis, tasks: int) -> float:
    """Return the seconds until all were published, run and acknowledged."""
    queue = _GPU_NAME.queue
    began = time.monotonic()
    with app.producer_or_acquire() as producer:
        for _ in range(tasks):
            app.send_task("noop", queue=queue, ignore_result=True, producer=producer)
    while redis.llen(queue) or redis.hlen("unacked"):
        time.sleep(0.02)
    return time.monotonic() - began


def _through_the_fleet(app: Celery, redis: Redis, segments: int) -> float:
    """Return the seconds from the plan of one long job to its last segment's result in the ledger."""
    ledger = Ledger(redis, Settings(max_attempts=3, job_retention=3600.0))
    job = str(uuid.uuid4())
    request = TranscribeRequest(file_path="/nowhere.wav", model_name="tiny")
    plans = [SegmentPlan(index=i, start=i * 300.0, end=(i + 1) * 300.0) for i in range(segments)]
    ledger.accept(job, request, time.time())
    began = time.monotonic()
    ledger.plan(job, JobPlan(duration=segments * 300.0, segments=tuple(plans)), time.time())
    wake_dispatcher(app, redis)
    while (ledger.job(job).segments_done or 0) < segments:
        time.sleep(0.05)
    return time.monotonic() - began


def _commands(redis: Redis) -> int:
    """Return the number of commands that Redis has run since it started, including those inside scripts."""
    stats: dict[str, dict[str, Any]] = redis.info("commandstats")
    return sum(int(one["calls"]) for one in stats.values())


def _await_workers(app: Celery) -> None:
    while len(app.control.ping(timeout=0.5) or ()) < 2:
        time.sleep(0.1)


@contextmanager
def _heartbeat(redis: Redis, slots: int) -> Iterator[None]:
    """The node's place in the registry."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.is_set():
            GpuRegistry(redis).beat(_status(slots))
            stop.wait(1.0)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _status(slots: int) -> GpuStatus:
    now = time.time()
    return GpuStatus(
        id=_GPU,
        host=HOST,
        index=0,
        uuid="GPU-bench",
        name="none",
        device="cuda",
        node=_NODE,
        queue=_GPU_NAME.queue,
        slots=slots,
        busy=0,
        ready=True,
        started=now,
        heartbeat=now,
    )


if __name__ == "__main__":
    main()
