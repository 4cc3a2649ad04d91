"""A demand knows its bytes, the GPUs that its job allows, and which of them can meet it."""

from __future__ import annotations

import pytest

from tests.support.demands import GIB, MARGIN, demand, gpu, status
from whisper_fleet.scheduler.dispatch.demand import fits_now, matches, why_unplaceable
from whisper_fleet.scheduler.dispatch.gpu_load import gpu_load
from whisper_fleet.shared.errors import ModelDoesNotFit, UnknownGpu


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
