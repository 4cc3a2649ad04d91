"""The loop of the dispatcher: turns get places, refused lanes sit out, an aged one is told to placement."""

from __future__ import annotations

from tests.support.gpu_status import gpu_status
from whisper_fleet.scheduler.dispatch.demand import Demand, demand_of
from whisper_fleet.scheduler.dispatch.fairness import FairOrder
from whisper_fleet.scheduler.dispatch.gpu_load import GpuLoad
from whisper_fleet.scheduler.dispatch.matching import match
from whisper_fleet.scheduler.dispatch.placement import Placement, Refusal, RefusalKind
from whisper_fleet.shared.wire import Lane, Need, WaitingJob

GIB = 2**30
NOW = 1000.0


def lane(model: str, segments: int, *, since: float = NOW) -> Lane:
    need = Need(model_name=model, precision="float16", segment_duration=300)
    job = WaitingJob(job=model, accepted=0, served=0, seconds=300, segments=tuple(range(segments)))
    return Lane(id=model, priority=5, tenant="", need=need, since=since, tenant_served=0, jobs=(job,))


def demand(lane: Lane) -> Demand:
    return demand_of(lane.need)


def gpus(free_gib: float) -> Placement:
    free = int(free_gib * GIB)
    status = gpu_status(
        "a",
        slots=3,
        busy=1,
        total_bytes=24 * GIB,
        free_bytes=free,
        engine_bytes=24 * GIB - free,
        models=("base/float16",),
    )
    return Placement([GpuLoad(status, 1)], margin=0.2)


def outcome(lanes: list[Lane], placement: Placement) -> list[tuple[str, int, str]]:
    pairs = match(FairOrder(lanes, now=NOW, ageing=60), placement, demand)
    return [
        (turn.job.job, turn.segment, place.reason if isinstance(place, Refusal) else place.id) for turn, place in pairs
    ]


def test_a_lane_that_fits_nowhere_stands_in_nobodys_way() -> None:
    assert outcome([lane("base", 5), lane("large-v3", 2)], gpus(free_gib=1)) == [
        ("base", 0, "a.0"),
        ("large-v3", 0, "no GPU has memory left for large-v3 in float16"),
        ("base", 1, "a.0"),
        ("base", 2, "every slot is taken"),
    ]


def test_an_aged_lane_has_a_gpu_run_empty() -> None:
    waiting = [lane("base", 5), lane("large-v3", 2, since=NOW - 61)]
    assert outcome(waiting, gpus(free_gib=1)) == [
        ("large-v3", 0, "no GPU has memory left for large-v3 in float16"),
        ("base", 0, "every slot is taken"),
    ]


def test_a_demand_that_cannot_be_known_is_a_refusal() -> None:
    refusal = Refusal(RefusalKind.MODEL_UNAVAILABLE, "it is gone")
    pairs = match(FairOrder([lane("base", 1)], now=NOW, ageing=60), gpus(20), lambda _: refusal)
    assert [place for _, place in pairs] == [refusal]
