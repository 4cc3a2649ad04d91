"""What deciding costs: a look of the dispatcher at a large fleet, and an autoscaler's tick on one host.

    python -m benchmarks.decisions [--gpus 1000] [--nodes 8]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from celery import Celery
from redis import Redis

from benchmarks.queue import redis_server
from scheduler.autoscaler import Autoscaler
from scheduler.devices import Devices
from scheduler.fairness import FairOrder
from scheduler.host import HostReading, read_host
from scheduler.matching import match
from scheduler.nvml import GpuReading
from scheduler.placement import Placement, Refusal, demand_of, gpu_load
from shared import queues
from shared.connect import connect
from shared.fleet import Fleet
from shared.settings import Settings
from shared.wire import GpuStatus, Lane, Need, WaitingJob

_HOST = "bench"
_GIB = 2**30


def main() -> None:
    """Print the cost of looks that place 1, 16 and 128 segments, and of a tick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=8)
    options = parser.parse_args()
    _looks(options.gpus)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        url = stack.enter_context(redis_server(Path(directory)))
        redis = connect(url)
        _registry(redis, options.gpus)
        stack.enter_context(_nodes(url, options.nodes, Path(directory)))
        _ticks(url, redis, options.nodes)


def _looks(gpus: int) -> None:
    statuses = [_status(f"host{number // 8}", number % 8) for number in range(gpus)]
    lanes = [_lane(number) for number in range(20)]
    for free in (1, 16, 128):
        taken = [4] * gpus
        for number in range(free):
            taken[number * (gpus // free)] = 3

        def look(taken: list[int] = taken) -> int:
            loads = [gpu_load(status, count) for status, count in zip(statuses, taken, strict=True)]
            placement = Placement([load for load in loads if load is not None], margin=0.2)
            order = FairOrder(lanes, now=1000.0, ageing=60.0)
            pairs = match(order, placement, lambda lane: demand_of(lane.need, Path()))
            return sum(not isinstance(place, Refusal) for _, place in pairs)

        spent = _median_ms(look, 20)
        print(f"look at {gpus} GPUs, {free} slots free: {spent:.1f} ms, {spent / free:.2f} ms a segment")


def _registry(redis: Redis, gpus: int) -> None:
    fleet = Fleet(redis)
    for number in range(gpus):
        fleet.beat(_status(f"host{number // 8}", number % 8))
    spent = _median_ms(lambda: fleet.gpus(0.0, 10.0), 20)
    print(f"reading the registry of {gpus} GPUs: {spent:.1f} ms")
    for number in range(gpus):
        fleet.leave(f"host{number // 8}.{number % 8}")


def _ticks(url: str, redis: Redis, nodes: int) -> None:
    app = Celery(broker=url, backend=url, set_as_current=False)
    while len(app.control.ping(timeout=0.5)) < nodes:
        time.sleep(0.1)
    gpus = tuple(
        GpuReading(index=index, uuid=f"GPU-{index}", total_bytes=24 * _GIB, free_bytes=20 * _GIB)
        for index in range(nodes)
    )
    host = HostReading(total_bytes=512 * _GIB, free_bytes=400 * _GIB, cores=64)
    devices = Devices(gpus=gpus, device="cuda", host=host)
    settings = Settings(redis_url=url, host=_HOST)
    autoscaler = Autoscaler(app, redis, settings, read=lambda _: devices)

    def tick() -> None:
        now = time.time()
        autoscaler.tick(now)

    def beat() -> None:
        for index in range(nodes):
            Fleet(redis).beat(_status(_HOST, index, heartbeat=time.time()))

    beat()
    tick()
    print(f"tick that grows {nodes} pools: {_median_ms(tick, 1):.0f} ms")
    print(f"tick with nothing to do for {nodes} GPUs: {_median_ms(tick, 20):.1f} ms")
    print(f"reading the host: {_median_ms(read_host, 20):.1f} ms")


def _median_ms(call: Callable[[], object], times: int) -> float:
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        spent.append((time.perf_counter() - began) * 1000)
    return statistics.median(spent)


def _lane(number: int) -> Lane:
    model = ("base", "turbo", "medium", "large-v3")[number % 4]
    need = Need(model_name=model, precision="float16", segment_duration=300.0)
    jobs = tuple(
        WaitingJob(job=f"{number}/{i}", accepted=i, served=300.0, seconds=300.0, segments=tuple(range(8)))
        for i in range(16)
    )
    name = f"lane{number}"
    return Lane(
        id=name, priority=5, tenant=f"t{number}", need=need, since=1000.0, tenant_served=0.0, jobs=jobs
    )


def _status(host: str, index: int, heartbeat: float = 0.0) -> GpuStatus:
    return GpuStatus(
        id=queues.gpu_id(host, index),
        host=host,
        index=index,
        uuid=f"GPU-{host}-{index}",
        name="NVIDIA L4",
        device="cuda",
        node=queues.gpu_node(host, index),
        queue=queues.gpu_queue(queues.gpu_id(host, index)),
        slots=4,
        busy=4,
        total_bytes=24 * _GIB,
        free_bytes=20 * _GIB,
        ready=True,
        started=0.0,
        heartbeat=heartbeat,
    )


@contextmanager
def _nodes(url: str, count: int, directory: Path) -> Iterator[None]:
    environment = {
        **os.environ,
        "CELERY_CUSTOM_WORKER_POOL": "workers.pool:SlotPool",
        "WHISPER_FLEET_REDIS_URL": url,
        "WHISPER_FLEET_HOST": _HOST,
    }
    processes = []
    with (directory / "nodes.log").open("wb") as log:
        for index in range(count):
            command = [sys.executable, "-m", "celery", "-A", "scheduler.app", "worker", "-P", "custom"]
            command += ["-c", "1", "-n", queues.gpu_node(_HOST, index), "-Q", f"gpu.{_HOST}.{index}"]
            processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        try:
            yield
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


if __name__ == "__main__":
    main()
