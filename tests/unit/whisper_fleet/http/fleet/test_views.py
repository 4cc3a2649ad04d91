"""The fleet as the API shows it."""

from __future__ import annotations

from whisper_fleet.http.fleet.views import CallerView, fleet_view
from whisper_fleet.http.jobs.estimates import Estimate
from whisper_fleet.shared.wire import GpuStatus

NOBODY = CallerView(tenant="", scopes=[], key=None)


def gpu(host: str, index: int, slots: int, busy: int) -> GpuStatus:
    return GpuStatus(
        id=f"{host}.{index}",
        host=host,
        index=index,
        uuid=f"GPU-{host}-{index}",
        name="NVIDIA H100",
        device="cuda",
        node=f"gpu{index}@{host}",
        queue=f"gpu.{host}.{index}",
        slots=slots,
        busy=busy,
        ready=True,
        started=0.0,
        heartbeat=0.0,
        models=("base/float16",),
    )


def test_gpus_are_grouped_by_host_in_order_and_counted() -> None:
    gpus = [gpu("b", 0, 4, 1), gpu("a", 10, 8, 8), gpu("a", 2, 2, 0)]
    backlog = Estimate(backlog_seconds=60.0, speed=30.0, wait_seconds=2.0, total_seconds=2.0, gpus=3)
    shown = fleet_view(
        version="1", gpus=gpus, speeds={"a.2": 30.04}, backlog=backlog, problem="no intake", caller=NOBODY
    )
    assert [(host.name, [gpu.index for gpu in host.gpus]) for host in shown.hosts] == [("a", [2, 10]), ("b", [0])]
    assert (shown.gpus, shown.slots, shown.slots_busy) == (3, 14, 9)
    assert [gpu.speed for gpu in shown.hosts[0].gpus] == [30.0, None]
    assert (shown.backlog_seconds, shown.wait_seconds, shown.problem) == (60.0, 2.0, "no intake")


def test_a_fleet_without_gpus_is_shown_too() -> None:
    backlog = Estimate(backlog_seconds=0.0, speed=None, wait_seconds=None, total_seconds=None, gpus=0)
    shown = fleet_view(version="1", gpus=[], speeds={}, backlog=backlog, problem=None, caller=NOBODY)
    assert (shown.hosts, shown.gpus, shown.speed) == ([], 0, None)
