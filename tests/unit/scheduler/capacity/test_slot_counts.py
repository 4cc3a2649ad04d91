"""Slots never exceed the memory they are promised, whatever the model, and come with a reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_fleet.scheduler.capacity.policies.memory import MemoryPolicy
from whisper_fleet.scheduler.capacity.slots import Budget, SlotCount, SlotLimits, combined
from whisper_fleet.shared.memory import ModelMemory, memory_of
from whisper_fleet.shared.models import MODELS
from whisper_fleet.shared.settings import Settings

GIB = 2**30
LIMITS = SlotLimits.of(Settings())

memories = st.builds(
    lambda name, precision, device, duration, rows, form: memory_of(
        MODELS[name], precision, device=device, segment_duration=duration, rows_per_slot=rows, form=form
    ),
    st.sampled_from(list(MODELS)),
    st.sampled_from(["float16", "bfloat16", "float32"]),
    st.sampled_from(["cuda", "cpu"]),
    st.floats(30, 3600),
    st.integers(1, 10),
    st.sampled_from(["cached", "absorbed"]),
)
sizes = st.integers(0, 200 * GIB)
budgets = st.builds(
    Budget,
    device=st.sampled_from(["cuda", "cpu"]),
    total_bytes=st.none() | sizes,
    free_bytes=sizes,
    engine_bytes=st.none() | sizes,
    host_free_bytes=st.none() | sizes,
    cores=st.integers(1, 256),
)
limits = st.builds(
    SlotLimits,
    margin=st.floats(0, 0.95),
    minimum=st.integers(0, 20),
    maximum=st.integers(1, 500),
    per_core=st.integers(1, 32),
)


def budget(free_gib: float = 23.5, **changes: object) -> Budget:
    plain = Budget(
        device="cuda",
        total_bytes=24 * GIB,
        free_bytes=int(free_gib * GIB),
        engine_bytes=None,
        host_free_bytes=256 * GIB,
        cores=32,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # one test's own fields


def memory(name: str = "large-v3", device: str = "cuda") -> ModelMemory:
    return memory_of(MODELS[name], "float16", device=device, segment_duration=300)


def count_slots(budget: Budget, memory: ModelMemory, limits: SlotLimits) -> SlotCount:
    return MemoryPolicy(limits).count(budget, memory)


@given(budgets, memories, limits)
def test_slots_never_exceed_the_budget(budget: Budget, memory: ModelMemory, limits: SlotLimits) -> None:
    slots = count_slots(budget, memory, limits).slots
    assert 0 <= slots <= limits.maximum
    if slots:
        available = budget.available_bytes
        assert available is not None
        on_host = slots * memory.host
        needed = memory.total(slots) + (on_host if budget.device == "cpu" else 0)
        assert needed <= available * (1 - limits.margin)
        if budget.device == "cuda" and budget.host_free_bytes is not None:
            assert on_host <= budget.host_free_bytes * (1 - limits.margin)


@given(budgets, memories, limits, sizes)
def test_more_memory_never_means_fewer_slots(
    budget: Budget, memory: ModelMemory, limits: SlotLimits, more: int
) -> None:
    richer = replace(budget, free_bytes=(budget.free_bytes or 0) + more)
    assert count_slots(richer, memory, limits).slots >= count_slots(budget, memory, limits).slots


@given(budgets, memories, limits, st.integers(1, 10 * GIB))
def test_what_our_engine_holds_counts_as_free(
    budget: Budget, memory: ModelMemory, limits: SlotLimits, moved: int
) -> None:
    held = replace(budget, engine_bytes=moved)
    free = replace(budget, free_bytes=(budget.free_bytes or 0) + moved, engine_bytes=None)
    assert count_slots(held, memory, limits).slots == count_slots(free, memory, limits).slots


@given(budgets, memories, limits)
def test_one_more_slot_would_break_a_bound(budget: Budget, memory: ModelMemory, limits: SlotLimits) -> None:
    slots = count_slots(budget, memory, limits).slots
    more = slots + 1
    on_cpu = budget.device == "cpu"
    device_bytes = memory.total(more) + (more * memory.host if on_cpu else 0)
    host_bytes = None if on_cpu else budget.host_free_bytes
    cores = max(limits.minimum, 1, budget.cores * (1 if on_cpu else limits.per_core))
    assert (
        more > limits.maximum
        or more > cores
        or device_bytes > int((budget.available_bytes or 0) * (1 - limits.margin))
        or (host_bytes is not None and more * memory.host > int(host_bytes * (1 - limits.margin)))
    )


def test_the_reason_gives_the_sum_with_units() -> None:
    count = count_slots(budget(), memory(), LIMITS)
    assert count.slots == 44
    assert count.reason == (
        "44 slots: 23.5 GiB free of 24.0 GiB, 20 % kept, weights 2.9 GiB, workspace 2.8 GiB, "
        "0.30 GiB per slot (cached cross-attention); cap 256"
    )


def test_the_reason_names_what_our_engine_holds() -> None:
    count = count_slots(budget(3.5, engine_bytes=20 * GIB), memory(), LIMITS)
    assert count.slots == 44
    assert "3.5 GiB free of 24.0 GiB, 20.0 GiB held by our engine, 20 % kept" in count.reason


@pytest.mark.parametrize(
    ("tight", "slots", "words"),
    [
        (budget(cores=1), 32, "cores allow 32"),
        (budget(host_free_bytes=GIB), 15, "host memory allows 15"),
        (budget(140, total_bytes=141 * GIB), 256, "cap allows 256"),
    ],
)
def test_the_reason_names_the_bound_that_binds(tight: Budget, slots: int, words: str) -> None:
    count = count_slots(tight, memory(), LIMITS)
    assert count.slots == slots
    assert count.reason.endswith(f"; {words}")


def test_a_model_that_does_not_fit_has_no_slot_and_says_what_it_needs() -> None:
    count = count_slots(budget(3.9, total_bytes=4 * GIB), memory(), LIMITS)
    assert count.slots == 0
    assert count.reason == (
        "0 slots: the model needs 4.5 GiB with one slot, more than is left of 3.9 GiB free of 4.0 GiB, 20 % kept"
    )


def test_unknown_memory_has_no_slot() -> None:
    count = count_slots(budget(free_bytes=None), memory(), LIMITS)
    assert count.reason == "0 slots: the free memory is unknown"


def test_a_cpu_has_a_slot_a_core() -> None:
    cpu = budget(22, device="cpu", total_bytes=24 * GIB, host_free_bytes=None, cores=6)
    on_cpu = memory_of(MODELS["base"], "float32", device="cpu", segment_duration=300)
    count = count_slots(cpu, on_cpu, LIMITS)
    assert count.slots == 6
    assert count.reason.endswith("; cores allow 6")


def test_the_minimum_lifts_what_cores_allow_but_not_what_memory_allows() -> None:
    cpu = budget(22, device="cpu", host_free_bytes=None, cores=1)
    on_cpu = memory_of(MODELS["base"], "float32", device="cpu", segment_duration=300)
    at_least_four = replace(LIMITS, minimum=4)
    assert count_slots(cpu, on_cpu, at_least_four).slots == 4
    scarce = count_slots(replace(cpu, free_bytes=GIB * 4 // 5), on_cpu, at_least_four)
    assert scarce.slots == 3
    assert scarce.reason.endswith("fewer than the minimum of 4")


def test_models_together_need_all_weights_and_the_largest_slot() -> None:
    both = combined([memory("large-v3"), memory("turbo")])
    assert both.weights == memory("large-v3").weights + memory("turbo").weights
    assert both.slot == memory("large-v3").slot
    assert both.workspace == memory("large-v3").workspace


def test_models_together_are_named_after_the_form_that_costs_most() -> None:
    absorbed = memory_of(MODELS["turbo"], "float16", device="cuda", segment_duration=300, form="absorbed")
    both = combined([absorbed, memory("base")])
    assert (both.form, both.cross) == ("cached", memory("base").cross)
