"""Placement takes the least loaded GPU that fits, never overfills one and never ignores gpu_ids."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.demands import GIB, MARGIN, demand, gpu
from whisper_fleet.scheduler.dispatch.demand import Demand, fits_now, matches, why_unplaceable
from whisper_fleet.scheduler.dispatch.gpu_load import GpuLoad
from whisper_fleet.scheduler.dispatch.placement import Placement, Refusal, RefusalKind
from whisper_fleet.shared.wire import GpuStatus


def place(placement: Placement, *asked: Demand, **options: Any) -> str:
    """The id of the GPU that placement chose."""
    chosen = placement.place(*asked, **options)
    assert isinstance(chosen, GpuStatus)
    return chosen.id


demands = st.sampled_from(
    [
        demand("base"),
        demand("large-v3"),
        demand("large-v3", precision="float32"),
        demand("turbo", "0"),
        demand("base", "b:1", "GPU-a-2"),
        demand("medium", "c.0"),
        demand("base", "nowhere:9"),
    ]
)
fleets = st.lists(
    st.builds(
        lambda host, index, slots, taken, free, engine, models, device: gpu(
            host,
            index,
            slots=slots,
            taken=taken,
            free_bytes=free,
            engine_bytes=engine,
            models=tuple(models),
            device=device,
        ),
        st.sampled_from("abc"),
        st.integers(0, 3),
        st.integers(1, 6),
        st.integers(0, 7),
        st.none() | st.integers(0, 24 * GIB),
        st.none() | st.integers(0, 8 * GIB),
        st.lists(st.sampled_from(["base/float16", "large-v3/float16", "base/float32"]), max_size=2),
        st.sampled_from(["cuda", "cuda", "cpu"]),
    ),
    max_size=12,
    unique_by=lambda one: one.status.id,
)


@given(fleets, st.lists(demands, max_size=60))
def test_every_placement_is_the_least_loaded_fit(gpus: list[GpuLoad], steps: list[Demand]) -> None:
    placement = Placement(gpus, margin=MARGIN)
    for step in steps:
        able = [one for one in gpus if one.free_slots and matches(step.gpu_ids, one.status)]
        able = [one for one in able if fits_now(step, one, MARGIN)]
        least = min((one.load for one in able), default=None)
        before = {one.status.id: one.load for one in gpus}
        loaded = {
            one.status.id for one in able if one.load == least and step.loaded_name(one.status.device) in one.models
        }
        where = placement.place(step)
        if least is None:
            assert isinstance(where, Refusal)
            continue
        assert isinstance(where, GpuStatus)
        assert where in [one.status for one in able]
        assert before[where.id] == least
        assert not loaded or where.id in loaded
    assert placement.free_slots == sum(one.free_slots for one in gpus)
    assert placement.is_full == (bool(gpus) and not any(one.free_slots for one in gpus))


@given(fleets, st.lists(demands, max_size=80))
def test_no_gpu_is_ever_overfilled(gpus: list[GpuLoad], wanted: list[Demand]) -> None:
    taken = {one.status.id: one.taken for one in gpus}
    placement = Placement(gpus, margin=MARGIN)
    for one in wanted:
        placement.place(one)
    assert all(one.taken <= max(one.status.slots, taken[one.status.id]) for one in gpus)


def test_between_equals_the_gpu_with_the_model_loaded_goes_first() -> None:
    gpus = [gpu("a"), gpu("b", models=("base/float16",)), gpu("c")]
    placement = Placement(gpus, margin=MARGIN)
    assert place(placement, demand()) == "b.0"
    assert place(placement, demand()) == "a.0", "a lower load counts more than a loaded model"


@pytest.mark.parametrize(
    ("gpus", "what", "kind", "reason"),
    [
        ([], demand(), RefusalKind.NO_GPU_UP, "no GPU is up"),
        ([gpu(taken=4)], demand(), RefusalKind.ALL_SLOTS_TAKEN, "every slot is taken"),
        ([gpu()], demand("base", "7"), RefusalKind.NO_GPU_ALLOWED, "no GPU that is up matches gpu_ids ['7']"),
        (
            [gpu(free_bytes=1 * GIB)],
            demand("large-v3"),
            RefusalKind.NO_MEMORY_LEFT,
            "no GPU has memory left for large-v3 in float16",
        ),
    ],
)
def test_a_refusal_gives_a_kind_and_a_reason(gpus: list[GpuLoad], what: Demand, kind: RefusalKind, reason: str) -> None:
    refusal = Placement(gpus, margin=MARGIN).place(what)
    assert isinstance(refusal, Refusal)
    assert refusal.kind is kind
    assert reason in refusal.reason


@pytest.mark.parametrize(
    ("forms", "fits"),
    [({"float16": "absorbed"}, True), ({"float16": "cached"}, False), ({"float32": "absorbed"}, False), ({}, False)],
)
def test_a_model_is_judged_in_the_form_that_the_gpus_engine_uses(forms: dict[str, str], fits: bool) -> None:
    """Where large-v3 with one slot fits as absorbed, and as cached it does not."""
    large = demand("large-v3")
    between = int((large.on_gpu["absorbed"] + large.on_gpu["cached"]) / 2 / (1 - MARGIN))
    tight = gpu(free_bytes=between, total_bytes=between, forms=forms)
    assert fits_now(large, tight, MARGIN) == fits
    assert (why_unplaceable(large, [tight.status], MARGIN) is None) == fits
    placement = Placement([tight], margin=MARGIN)
    assert isinstance(placement.place(large), GpuStatus if fits else Refusal)
    if fits:
        assert tight.engine_bytes == large.on_gpu["absorbed"]


def test_an_aged_demand_gets_a_gpu_that_runs_empty_for_it() -> None:
    """Round after round others finish on the reserved GPU and nothing new comes, until the model fits."""
    full = {"free_bytes": 2 * GIB, "engine_bytes": 20 * GIB}
    turbo = "large-v3-turbo/float16"
    gpus = [gpu("a", taken=2, models=(turbo,), **full), gpu("b", taken=3, models=(turbo,), **full)]
    for left in (2, 1):
        gpus[0].taken = left
        placement = Placement(gpus, margin=MARGIN)
        assert isinstance(placement.place(demand("large-v3"), is_aged=True), Refusal)
        assert placement.free_slots == 1
        assert place(placement, demand("turbo")) == "b.0"
        assert isinstance(placement.place(demand("turbo")), Refusal)
        gpus[1].taken -= 1
    gpus[0].taken = 0
    placement = Placement(gpus, margin=MARGIN)
    assert place(placement, demand("large-v3"), is_aged=True) == "a.0"
    assert gpus[0].models == ("large-v3/float16",)


def test_a_demand_that_is_not_aged_reserves_nothing() -> None:
    only = gpu(taken=1, free_bytes=2 * GIB, engine_bytes=20 * GIB, models=("large-v3-turbo/float16",))
    placement = Placement([only], margin=MARGIN)
    assert isinstance(placement.place(demand("large-v3")), Refusal)
    assert place(placement, demand("turbo")) == "a.0"


def test_an_aged_demand_that_only_waits_for_a_slot_reserves_nothing() -> None:
    gpus = [gpu("a", taken=4), gpu("b", 1, taken=3)]
    placement = Placement(gpus, margin=MARGIN)
    assert isinstance(placement.place(demand("base", "a:0"), is_aged=True), Refusal)
    assert place(placement, demand("base")) == "b.1"
