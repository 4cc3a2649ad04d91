"""Measure decisions: a look of the dispatcher at a large fleet, and an autoscaler's tick on one host.

python -m benchmarks.queue.decisions [--gpus 1000] [--nodes 8]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from celery import Celery
from redis import Redis

from benchmarks.support.processes import HOST, nodes, redis_server
from whisper_fleet.scheduler.capacity.autoscaler import Autoscaler
from whisper_fleet.scheduler.capacity.devices import Devices
from whisper_fleet.scheduler.capacity.nvml import GpuReading
from whisper_fleet.scheduler.dispatch.demand import demand_of
from whisper_fleet.scheduler.dispatch.fairness import FairOrder
from whisper_fleet.scheduler.dispatch.gpu_load import gpu_load
from whisper_fleet.scheduler.dispatch.matching import match
from whisper_fleet.scheduler.dispatch.placement import Placement, Refusal
from whisper_fleet.scheduler.dispatch_adapter import make_dispatcher
from whisper_fleet.scheduler.services import make_services
from whisper_fleet.shared import names
from whisper_fleet.shared.connect import connect
from whisper_fleet.shared.host import HostReading, read_host
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import (
    GpuStatus,
    JobPlan,
    Lane,
    Need,
    SegmentMessage,
    SegmentPlan,
    TranscribeRequest,
    WaitingJob,
)

_GIB = 2**30
_SLOTS = 4
_MODELS = ("base", "turbo", "medium", "large-v3")
#: GPUs of a thousand that beat between two looks 20 ms apart, with a heartbeat every 2 s.
_BEATS = 10


def main() -> None:
    """Print the cost of looks and of ticks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=8)
    options = parser.parse_args()
    _decisions(options.gpus)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        url = stack.enter_context(redis_server(Path(directory)))
        redis = connect(url)
        _readings(redis, options.gpus)
        _whole_looks(url, redis, options.gpus)
        redis.flushall()
        stack.enter_context(nodes(url, [_node(index) for index in range(options.nodes)], Path(directory)))
        _ticks(url, redis, options.nodes)


def _decisions(gpus: int) -> None:
    """Measure fairness and placement without Redis: 20 lanes with a long backlog, then a single clip."""
    for free in (1, 16, 128):
        taken = [_SLOTS - (number % (gpus // free) == 0 and number < gpus // free * free) for number in range(gpus)]
        lanes = [_lane(number, heads=free) for number in range(20)]
        _time_deciding(f"{free} slots free", taken, lanes, wanted=free)
    _time_deciding("all slots free and one segment waiting", [0] * gpus, [_lane(0, heads=1)], wanted=1)


def _time_deciding(words: str, taken: list[int], lanes: list[Lane], wanted: int) -> None:
    statuses = [_status(f"host{number // 8}", number % 8) for number in range(len(taken))]

    def look() -> int:
        loads = [gpu_load(status, count) for status, count in zip(statuses, taken, strict=True)]
        placement = Placement([load for load in loads if load is not None], margin=0.2)
        order = FairOrder(lanes, now=1000.0, ageing=60.0)
        pairs = match(order, placement, lambda lane: demand_of(lane.need))
        return sum(not isinstance(place, Refusal) for _, place in pairs)

    if look() != wanted:
        raise RuntimeError(f"placed {look()} segments instead of {wanted}")
    spent = _median_ms(look, 50)
    print(f"deciding, {len(taken)} GPUs, {words}: {spent:.2f} ms, {spent / wanted:.3f} ms a segment")


def _readings(redis: Redis, gpus: int) -> None:
    """Measure what a look reads in addition to the lanes."""
    ids = _join(redis, gpus)
    nodes, reader = GpuRegistry(redis), GpuRegistry(redis)
    ledger = Ledger(redis, Settings(max_attempts=3, job_retention=3600.0))
    print(f"reading the registry of {gpus} GPUs, first time: {_median_ms(lambda: GpuRegistry(redis).all(), 20):.2f} ms")
    spent = []
    for _ in range(50):
        for number in range(_BEATS):
            nodes.beat(_status(f"host{number}", 0))
        spent.append(_milliseconds(reader.all))
    print(f"the same again, {_BEATS} beat meanwhile: {statistics.median(spent):.2f} ms")
    print(f"reading the loads of {gpus} GPUs: {_median_ms(lambda: ledger.loads(ids), 50):.2f} ms")


def _whole_looks(url: str, redis: Redis, gpus: int) -> None:
    """Measure `Dispatcher.dispatch` with its Redis commands and its message, when one slot of the fleet is free."""
    ids = _join(redis, gpus)
    app = Celery(broker=url, backend=url, set_as_current=False)
    services = make_services(app, Settings(redis_url=url, heartbeat_timeout=1e12))
    for number in range(20):
        _plan(services.ledger, number)
    pipeline = redis.pipeline(transaction=False)
    for gpu in ids:
        pipeline.zadd(keys.active(gpu), {f"{slot}:{gpu}": 0.0 for slot in range(_SLOTS - (gpu == ids[-1]))})
    pipeline.execute()
    dispatcher, spent = make_dispatcher(services), []
    for _ in range(50):
        spent.append(_milliseconds(dispatcher.dispatch))
        _free_again(services.ledger, redis, ids[-1])
    print(f"a whole look that places one segment at {gpus} GPUs: {statistics.median(spent):.2f} ms")
    app.close()


def _join(redis: Redis, gpus: int) -> list[str]:
    fleet = GpuRegistry(redis)
    statuses = [_status(f"host{number // 8}", number % 8) for number in range(gpus)]
    for status in statuses:
        fleet.beat(status)
    return [status.id for status in statuses]


def _plan(ledger: Ledger, number: int) -> None:
    """Submit a job of 100 segments that waits in its own lane."""
    segments = [SegmentPlan(index=i, start=i * 300.0, end=(i + 1) * 300.0) for i in range(100)]
    model = _MODELS[number % len(_MODELS)]
    request = TranscribeRequest(file_path="/nowhere.wav", model_name=model, tenant=f"t{number}")
    ledger.accept(f"job{number}", request, 1.0)
    ledger.plan(f"job{number}", JobPlan(duration=30000.0, segments=tuple(segments)), 1.0)


def _free_again(ledger: Ledger, redis: Redis, gpu: str) -> None:
    """Take back what the look assigned; RuntimeError if it was not one segment."""
    assigned = ledger.overdue(gpu, float("inf"))
    if len(assigned) != 1:
        raise RuntimeError(f"the look assigned {len(assigned)} segments")
    ledger.reassign(SegmentMessage.model_validate(assigned[0][0]), 2.0)
    redis.delete(names.GpuName.parse(gpu).queue)
    redis.zadd(keys.active(gpu), {f"{slot}:{gpu}": 0.0 for slot in range(_SLOTS - 1)})


def _ticks(url: str, redis: Redis, nodes: int) -> None:
    app = Celery(broker=url, backend=url, set_as_current=False)
    while len(app.control.ping(timeout=0.5) or ()) < nodes:
        time.sleep(0.1)
    settings = Settings(redis_url=url, host=HOST)
    cards = _Cards(nodes)
    autoscaler = Autoscaler(app, redis, settings, read=cards)

    def tick(*free_gib: float, resizes: int) -> float:
        cards.free_gib = [free_gib[index % len(free_gib)] for index in range(nodes)]
        for index in range(nodes):
            GpuRegistry(redis).beat(_status(HOST, index, heartbeat=time.time()))
        began = time.perf_counter()
        decisions = autoscaler.tick(time.time())
        spent = (time.perf_counter() - began) * 1000
        if sum(decision.outcome == "resized" for decision in decisions) != resizes:
            raise RuntimeError(f"not {resizes} resizes: {decisions}")
        return spent

    few, many = 1.5, 3.0
    different = [few + index / 8 for index in range(1, nodes + 1)]
    tick(few, resizes=0)
    idle = [tick(few, resizes=0) for _ in range(20)]
    alike, each = [], []
    for _ in range(10):
        tick(many, resizes=0)
        alike += [tick(many, resizes=nodes), tick(few, resizes=nodes)]
        tick(*different, resizes=0)
        each += [tick(*different, resizes=nodes), tick(few, resizes=nodes)]
    print(f"tick of {nodes} GPUs, nothing to do: {_spread(idle)}")
    print(f"tick that resizes {nodes} pools alike: {_spread(alike)}")
    print(f"tick that resizes {nodes} pools, each to another size: {_spread(each)}")
    print(f"reading the host: {_median_ms(read_host, 20):.1f} ms")
    app.close()


class _Cards:
    """The GPUs of a host, whose free memory the benchmark sets."""

    def __init__(self, count: int) -> None:
        self.free_gib = [0.0] * count

    def __call__(self, _: Settings) -> Devices:
        gpus = tuple(
            GpuReading(index=index, uuid=f"GPU-{index}", total_bytes=24 * _GIB, free_bytes=int(free * _GIB))
            for index, free in enumerate(self.free_gib)
        )
        host = HostReading(total_bytes=512 * _GIB, free_bytes=400 * _GIB, cores=64)
        return Devices(gpus=gpus, device="cuda", host=host)


def _node(index: int) -> list[str]:
    node = [
        "-A",
        "whisper_fleet.scheduler.app",
        "worker",
        "-P",
        "custom",
        "-c",
        "1",
        "-n",
        str(names.GpuName(HOST, index).node()),
    ]
    return [*node, "-Q", names.GpuName(HOST, index).queue]


def _spread(spent: list[float]) -> str:
    return f"median {statistics.median(spent):.1f} ms, longest {max(spent):.1f} ms"


def _milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def _median_ms(call: Callable[[], object], times: int) -> float:
    return statistics.median(_milliseconds(call) for _ in range(times))


def _lane(number: int, heads: int) -> Lane:
    """Return what the ledger reports of a lane with many waiting jobs when this many slots are free."""
    need = Need(model_name=_MODELS[number % len(_MODELS)], precision="float16", segment_duration=300.0)
    each = 1 if heads == 1 else 2
    jobs = tuple(
        WaitingJob(job=f"{number}/{i}", accepted=i, served=300.0, seconds=300.0, segments=tuple(range(each)))
        for i in range(heads)
    )
    name = f"lane{number}"
    return Lane(id=name, priority=5, tenant=f"t{number}", need=need, since=1000.0, tenant_served=0.0, jobs=jobs)


def _status(host: str, index: int, heartbeat: float = 0.0) -> GpuStatus:
    gpu = names.GpuName(host, index)
    return GpuStatus(
        id=str(gpu),
        host=host,
        index=index,
        uuid=f"GPU-{host}-{index}",
        name="NVIDIA L4",
        device="cuda",
        node=str(gpu.node()),
        queue=gpu.queue,
        slots=_SLOTS,
        busy=_SLOTS,
        total_bytes=24 * _GIB,
        free_bytes=20 * _GIB,
        ready=True,
        started=0.0,
        heartbeat=heartbeat,
    )


if __name__ == "__main__":
    main()
