"""Placement takes the least loaded GPU that fits, never overfills one and never ignores gpu_ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.gpu_status import gpu_status
from whisper_fleet.scheduler.dispatch.placement import (
    Demand,
    GpuLoad,
    Placement,
    Refusal,
    demand_of,
    fits_now,
    gpu_load,
    matches,
    why_unplaceable,
)
from whisper_fleet.shared.errors import ModelDoesNotFit, UnknownGpu
from whisper_fleet.shared.wire import GpuStatus, Need

GIB = 2**30
MARGIN = 0.2


def demand(model: str = "base", *gpu_ids: str, precision: Any = "float16", rows: int = 1) -> Demand:
    need = Need(model_name=model, precision=precision, segment_duration=300, rows=rows, gpu_ids=gpu_ids)
    return demand_of(need, Path("/models"))


def status(host: str = "a", index: int = 0, **changes: Any) -> GpuStatus:
    memory = {"total_bytes": 24 * GIB, "free_bytes": 20 * GIB}
    return gpu_status(host, index, **(memory | changes))


def gpu(host: str = "a", index: int = 0, *, taken: int = 0, **changes: Any) -> GpuLoad:
    return GpuLoad(status(host, index, **changes), taken)


def place(placement: Placement, *asked: Demand, **options: bool) -> str:
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


@pytest.mark.parametrize(
    ("gpu_ids", "ids"),
    [
        (("1",), {"a.1", "b.1"}),
        (("a:1",), {"a.1"}),
        (("GPU-b-0",), {"b.0"}),
        (("b.0",), {"b.0"}),
        (("0", "b:1"), {"a.0", "b.0", "b.1"}),
        ((), {"a.0", "a.1", "b.0", "b.1"}),
        (("c:0", "7", "GPU-b"), set()),
    ],
)
def test_gpu_ids_are_an_index_anywhere_a_host_with_index_or_a_uuid(gpu_ids: tuple[str, ...], ids: set[str]) -> None:
    gpus = [status("a", 0), status("a", 1), status("b", 0), status("b", 1)]
    assert {one.id for one in gpus if matches(gpu_ids, one)} == ids


def test_between_equals_the_gpu_with_the_model_loaded_goes_first() -> None:
    gpus = [gpu("a"), gpu("b", models=("base/float16",)), gpu("c")]
    placement = Placement(gpus, margin=MARGIN)
    assert place(placement, demand()) == "b.0"
    assert place(placement, demand()) == "a.0", "a lower load counts more than a loaded model"


def test_a_model_that_is_loaded_needs_no_further_weights() -> None:
    full = gpu(free_bytes=1 * GIB, taken=1, models=("large-v3/float16",))
    assert fits_now(demand("large-v3"), full, MARGIN)
    assert not fits_now(demand("medium"), full, MARGIN)


def test_an_idle_engine_gives_up_its_models_for_another() -> None:
    busy = gpu(free_bytes=2 * GIB, engine_bytes=18 * GIB, taken=1, models=("turbo/float16",))
    assert not fits_now(demand("large-v3"), busy, MARGIN)
    busy.taken = 0
    assert fits_now(demand("large-v3"), busy, MARGIN)


def test_unknown_memory_is_tried() -> None:
    assert fits_now(demand("large-v3"), gpu(free_bytes=None), MARGIN)


def test_a_cpu_runs_every_precision_in_float32() -> None:
    cpu = gpu(device="cpu", models=("base/float32",), free_bytes=0, taken=1)
    assert fits_now(demand("base", precision="float16"), cpu, MARGIN)


@pytest.mark.parametrize(
    ("gpus", "what", "words"),
    [
        ([], demand(), "no GPU is up"),
        ([gpu(taken=4)], demand(), "every slot is taken"),
        ([gpu()], demand("base", "7"), "no GPU that is up matches gpu_ids ['7']"),
        ([gpu(free_bytes=1 * GIB)], demand("large-v3"), "no GPU has memory left for large-v3 in float16"),
    ],
)
def test_a_refusal_says_why(gpus: list[GpuLoad], what: Demand, words: str) -> None:
    refusal = Placement(gpus, margin=MARGIN).place(what)
    assert isinstance(refusal, Refusal)
    assert words in refusal.reason


def test_a_gpu_that_is_not_ready_or_has_no_slot_takes_nothing() -> None:
    assert gpu_load(status(ready=False), 0) is None
    assert gpu_load(status(slots=0), 0) is None
    load = gpu_load(status(models=("base/float16",)), 3)
    assert load is not None
    assert (load.taken, load.status.slots, load.models) == (3, 4, ("base/float16",))


def test_an_alias_is_the_model_that_it_names() -> None:
    assert demand("turbo") == demand("large-v3-turbo")
    assert demand("turbo").loaded_name("cuda") == "large-v3-turbo/float16"


def test_a_model_that_fits_no_gpu_fails_and_names_what_would() -> None:
    small = [status("a", total_bytes=4 * GIB), status("b", total_bytes=3 * GIB)]
    error = why_unplaceable(demand("large-v3"), small, MARGIN)
    assert isinstance(error, ModelDoesNotFit)
    assert str(error) == (
        "large-v3 in float16 needs 4.5 GiB, the largest GPU of the fleet has 3.2 GiB: use turbo or medium."
    )


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


def test_a_cpu_is_judged_in_the_form_that_its_engine_uses_in_float32() -> None:
    large = demand("large-v3")
    told = {"float16": "cached", "float32": "absorbed"}
    assert large.needed(status(device="cpu", forms=told)) == large.on_cpu["absorbed"]
    assert large.needed(status(device="cpu")) == large.on_cpu["cached"]


def test_a_model_that_fits_one_gpu_of_the_fleet_may_wait_for_it() -> None:
    fleet = [status("a", total_bytes=4 * GIB), status("b", total_bytes=8 * GIB, ready=False, free_bytes=0)]
    assert why_unplaceable(demand("large-v3"), fleet, MARGIN) is None
    assert isinstance(why_unplaceable(demand("large-v3", "a:0"), fleet, MARGIN), ModelDoesNotFit)


def test_gpu_ids_that_nobody_has_fail() -> None:
    error = why_unplaceable(demand("base", "c:0"), [status("a"), status("b", 1)], MARGIN)
    assert isinstance(error, UnknownGpu)
    assert str(error) == "No GPU of the fleet matches gpu_ids ['c:0']: the fleet has a:0, b:1."


def test_a_fleet_without_any_gpu_keeps_jobs_waiting() -> None:
    assert why_unplaceable(demand("large-v3", "c:0"), [], MARGIN) is None


def test_a_gpu_of_unknown_size_may_fit() -> None:
    assert why_unplaceable(demand("large-v3"), [status(total_bytes=None)], MARGIN) is None


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
